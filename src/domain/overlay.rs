//! The image entries of a Kustomize overlay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::error::{Error, Result};

/// What an overlay says about one image (kubernetes-sigs/kustomize, "images" field).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayImage {
    /// `newName`: registry and repository.
    pub name: Option<String>,
    /// `newTag`.
    pub tag: Option<String>,
    /// `digest`; Kustomize lets it win over the tag.
    pub digest: Option<Digest>,
}

#[derive(Deserialize)]
struct Kustomization {
    images: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    new_name: Option<String>,
    new_tag: Option<Scalar>,
    digest: Option<Digest>,
}

/// A tag such as 1.10 or 20250304 is a number to YAML.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_yaml::Number),
}

/// The images of a `kustomization.yaml`, by the name that the base uses. A file without `images` has none.
pub fn overlay_images(yaml: &[u8]) -> Result<BTreeMap<String, OverlayImage>> {
    let parsed: Option<Kustomization> = serde_yaml::from_slice(yaml)
        .map_err(|error| Error::outside("read the overlay's kustomization").because(error))?;
    Ok(by_name(parsed))
}

/// As [`overlay_images`], of a file that was read already.
pub(super) fn images_of(yaml: &serde_yaml::Value) -> serde_yaml::Result<BTreeMap<String, OverlayImage>> {
    Option::deserialize(yaml).map(by_name)
}

fn by_name(kustomization: Option<Kustomization>) -> BTreeMap<String, OverlayImage> {
    let tag = |scalar: Scalar| match scalar {
        Scalar::Text(text) => text,
        Scalar::Number(number) => number.to_string(),
    };
    let entries = kustomization.and_then(|kustomization| kustomization.images).unwrap_or_default();
    let image = |entry: Entry| {
        let image = OverlayImage { name: entry.new_name, tag: entry.new_tag.map(tag), digest: entry.digest };
        (entry.name, image)
    };
    entries.into_iter().map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_however_people_write_them() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let yaml = format!(
            "# by hand\nimages:\n- name: a\n  newTag: \"v1.2.0\" # quoted\n- {{name: b, newTag: 20250304, digest: '{digest}'}}\n"
        );
        let images = overlay_images(yaml.as_bytes()).unwrap();
        assert_eq!(images["a"].tag.as_deref(), Some("v1.2.0"));
        assert_eq!(images["b"].tag.as_deref(), Some("20250304"));
        assert_eq!(images["b"].digest.as_ref().map(Digest::as_str), Some(digest.as_str()));
        for none in ["resources: []", "images:", "images: []", "# nothing"] {
            assert!(overlay_images(none.as_bytes()).unwrap().is_empty());
        }
        assert!(overlay_images(b"images: 3").is_err());
    }
}
