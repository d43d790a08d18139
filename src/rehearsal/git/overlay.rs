//! The part of kustomize that the repository uses: rendering, and the edit of image tags and digests.
//!
//! Facts from the kustomize documentation (kubectl.docs.kubernetes.io/references/kustomize): `namespace`, `images`,
//! `replicas`, `labels`,
//! `commonAnnotations` and `resources` act after the resources below them are rendered. Everything else is refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::Digest;
use crate::error::{Class, Error, Result};

/// Reads a file of the rendered commit; `None` where it is not there.
pub type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A `kustomization.yaml`, as far as it is rendered here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    labels: Vec<Labels>,
    #[serde(default)]
    replicas: Vec<Replicas>,
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    common_annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Labels {
    pairs: BTreeMap<String, String>,
    #[serde(default)]
    include_templates: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replicas {
    name: String,
    count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: Option<String>,
    new_tag: Option<String>,
    digest: Option<String>,
}

/// Renders the kustomization in `dir`, its resources first.
pub fn render(read: Read<'_>, dir: &str) -> Result<Vec<Value>> {
    render_below(read, dir, 0)
}

fn render_below(read: Read<'_>, dir: &str, depth: usize) -> Result<Vec<Value>> {
    if depth > 8 {
        return Err(Error::outside(format!("render {dir}: kustomizations nest too deeply")));
    }
    let path = format!("{dir}/kustomization.yaml");
    let text = read(&path).ok_or_else(|| Error::outside(format!("{path} is not there")).class(Class::NotFound))?;
    let kustomization: Kustomization =
        serde_yaml::from_str(&text).map_err(|error| Error::outside(format!("render {path}")).because(error))?;
    let mut objects = Vec::new();
    for resource in &kustomization.resources {
        let path = join(dir, resource)?;
        match read(&path) {
            Some(text) => objects.extend(documents(&path, &text)?),
            None => objects.extend(render_below(read, &path, depth + 1)?),
        }
    }
    for object in &mut objects {
        transform(&kustomization, object);
    }
    Ok(objects)
}

/// `infra/k8s/overlays/production` and `../../base` make `infra/k8s/base`; nothing leaves the repository.
fn join(dir: &str, relative: &str) -> Result<String> {
    let mut parts: Vec<&str> = dir.split('/').collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(Error::outside(format!("{dir}: the resource {relative} is outside the repository")));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn documents(path: &str, text: &str) -> Result<Vec<Value>> {
    let bad = |error: &dyn std::fmt::Display| Error::outside(format!("render {path}: {error}"));
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| bad(&error))?;
        if value.is_null() {
            continue;
        }
        if !(value["apiVersion"].is_string() && value["kind"].is_string() && value["metadata"]["name"].is_string()) {
            return Err(bad(&"a document without apiVersion, kind or metadata.name"));
        }
        objects.push(value);
    }
    Ok(objects)
}

fn transform(kustomization: &Kustomization, object: &mut Value) {
    if let Some(namespace) = &kustomization.namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    for labels in &kustomization.labels {
        add(&mut object["metadata"], "labels", &labels.pairs);
        if labels.include_templates && object["spec"]["template"].is_object() {
            add(&mut object["spec"]["template"]["metadata"], "labels", &labels.pairs);
        }
    }
    if !kustomization.common_annotations.is_empty() {
        add(&mut object["metadata"], "annotations", &kustomization.common_annotations);
        if object["spec"]["template"].is_object() {
            add(&mut object["spec"]["template"]["metadata"], "annotations", &kustomization.common_annotations);
        }
    }
    let scales = matches!(object["kind"].as_str(), Some("Deployment" | "StatefulSet" | "ReplicaSet"));
    for replicas in &kustomization.replicas {
        if scales && object["metadata"]["name"] == json!(replicas.name) {
            object["spec"]["replicas"] = json!(replicas.count);
        }
    }
    for list in ["initContainers", "containers"] {
        let containers = object.pointer_mut(&format!("/spec/template/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(image) = container["image"].as_str().and_then(|old| new_image(&kustomization.images, old)) {
                container["image"] = json!(image);
            }
        }
    }
}

/// Adds pairs to `labels` or `annotations`.
fn add(metadata: &mut Value, part: &str, pairs: &BTreeMap<String, String>) {
    if !metadata.is_object() {
        *metadata = json!({});
    }
    if !metadata[part].is_object() {
        metadata[part] = Value::Object(Map::new());
    }
    for (key, value) in pairs {
        metadata[part][key] = json!(value);
    }
}

/// What the `images` entries make of a container's image: a new tag replaces tag and digest; a digest alone drops
/// the tag; both together give `name:tag@digest` (kustomize 5, `filters/imagetag`).
fn new_image(images: &[Image], old: &str) -> Option<String> {
    let (rest, old_digest) = old.split_once('@').map_or((old, None), |(rest, digest)| (rest, Some(digest)));
    let (name, old_tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let image = images.iter().find(|image| image.name == name)?;
    let (tag, digest) = match (image.new_tag.as_deref(), image.digest.as_deref()) {
        (None, None) => (old_tag, old_digest),
        new => new,
    };
    let mut out = image.new_name.clone().unwrap_or_else(|| name.to_owned());
    if let Some(tag) = tag {
        out.push(':');
        out.push_str(tag);
    }
    if let Some(digest) = digest {
        out.push('@');
        out.push_str(digest);
    }
    Some(out)
}

/// Sets `newTag` and `digest` of the named images in the text of a `kustomization.yaml`. Only the bytes of those
/// values change: comments, quotes, order and indentation stay.
///
/// # Errors
/// An image without an entry, or an entry without `newTag` or `digest`.
pub fn set_images(text: &str, images: &BTreeMap<String, (String, Digest)>) -> Result<String> {
    let mut splices: Vec<(usize, usize, &str)> = Vec::new();
    let mut left: Vec<&str> = images.keys().map(String::as_str).collect();
    for (start, end) in image_items(text) {
        let value = |key| value_of(text, start, end, key);
        let Some((name, (tag, digest))) = value("name").and_then(|(from, to)| images.get_key_value(&text[from..to]))
        else {
            continue;
        };
        let missing = |key: &str| Error::outside(format!("the overlay's image {name} has no {key}"));
        let (tag_at, digest_at) =
            (value("newTag").ok_or_else(|| missing("newTag"))?, value("digest").ok_or_else(|| missing("digest"))?);
        splices.push((tag_at.0, tag_at.1, tag));
        splices.push((digest_at.0, digest_at.1, digest.as_str()));
        left.retain(|other| other != name);
    }
    if let Some(name) = left.first() {
        return Err(Error::outside(format!("the overlay has no image {name}")));
    }
    splices.sort_unstable();
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (from, to, new) in splices {
        out.push_str(&text[at..from]);
        out.push_str(new);
        at = to;
    }
    out.push_str(&text[at..]);
    Ok(out)
}

/// The byte ranges of the items of the top-level `images:` list.
fn image_items(text: &str) -> Vec<(usize, usize)> {
    let mut items: Vec<(usize, usize)> = Vec::new();
    let (mut inside, mut dash_column, mut at) = (false, None, 0);
    for line in text.split_inclusive('\n') {
        let (start, trimmed) = (at, line.trim_start());
        let column = line.len() - trimmed.len();
        at += line.len();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if column == 0 && !trimmed.starts_with('-') {
            inside = trimmed.starts_with("images:");
            continue;
        }
        if !inside {
            continue;
        }
        if trimmed.starts_with('-') && dash_column.is_none_or(|dash| dash == column) {
            dash_column = Some(column);
            items.push((start, at));
        } else if let Some(item) = items.last_mut() {
            item.1 = at;
        }
    }
    items
}

/// The byte range of a plain or quoted scalar value of `key`, in block or flow form, without its quotes.
fn value_of(text: &str, start: usize, end: usize, key: &str) -> Option<(usize, usize)> {
    let mut at = start;
    for line in text[start..end].split_inclusive('\n') {
        let code = &line[..comment_at(line)];
        let mut from = 0;
        while let Some(found) = code[from..].find(key) {
            let (key_at, after) = (from + found, from + found + key.len());
            from = after;
            let fresh = code[..key_at].chars().next_back().is_none_or(|c| " ,{-'\"".contains(c));
            let rest = code[after..].trim_start_matches(['\'', '"']);
            let Some(rest) = rest.strip_prefix(':').filter(|_| fresh) else { continue };
            let value = rest.trim_start();
            let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'');
            let value = if quote.is_some() { &value[1..] } else { value };
            let length = match quote {
                Some(quote) => value.find(quote)?,
                None => value.find([' ', ',', '}', '\n', '\r']).unwrap_or(value.len()),
            };
            let value_at = at + code.len() - value.len();
            return Some((value_at, value_at + length));
        }
        at += line.len();
    }
    None
}

/// Where a line's comment starts (a `#` after a blank); the line's length where there is none.
fn comment_at(line: &str) -> usize {
    line.find(" #").unwrap_or(line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAY: &str = "\
# a comment with images: in it
namespace: gospelib-production # here
resources: [../../base]
labels:
- pairs: {environment: production}
  includeTemplates: true
replicas:
    - name: gospelib-gateway
      count: 2
images:
  # newTag: v0 is a comment
  - name: gospelib-gateway
    newName: registry/gospelib-gateway
    newTag: v1.1.1   # set by the workflow
    digest: \"sha256:old\"
  -   newTag: 'v1.1.1'
      name:   'gospelib-content'
      digest: sha256:old # and this
  - {name: gospelib-auth, newTag: \"v1.1.1\", digest: sha256:old}
";
    const BASE: &str = "resources: [gateway.yaml]\n";
    const GATEWAY: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: gospelib-gateway, labels: {app: gospelib-gateway}}
spec:
  replicas: 1
  template:
    metadata: {labels: {app: gospelib-gateway}}
    spec: {containers: [{name: gateway, image: gospelib-gateway}]}
---
apiVersion: v1
kind: Service
metadata: {name: gospelib-gateway}
spec: {}
";

    fn read(path: &str) -> Option<String> {
        let text = match path {
            "k8s/overlays/production/kustomization.yaml" => OVERLAY,
            "k8s/base/kustomization.yaml" => BASE,
            "k8s/base/gateway.yaml" => GATEWAY,
            _ => return None,
        };
        Some(text.to_owned())
    }

    #[test]
    fn an_overlay_renders_as_kustomize_does() {
        let objects = render(&read, "k8s/overlays/production").unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0]["metadata"]["namespace"], "gospelib-production");
        assert_eq!(objects[0]["spec"]["replicas"], 2);
        assert_eq!(objects[0]["spec"]["template"]["metadata"]["labels"]["environment"], "production");
        assert_eq!(
            objects[0]["spec"]["template"]["spec"]["containers"][0]["image"],
            "registry/gospelib-gateway:v1.1.1@sha256:old"
        );
    }

    #[test]
    fn what_is_not_rendered_here_is_refused() {
        let strange = |path: &str| (path == "x/kustomization.yaml").then(|| "helmCharts: []\n".to_owned());
        assert!(render(&strange, "x").is_err());
        assert!(join("a/b", "../../../etc").is_err());
    }

    #[test]
    fn only_the_bytes_of_tag_and_digest_change() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let names = ["gospelib-gateway", "gospelib-content", "gospelib-auth"];
        let images = names.map(|name| (name.to_owned(), ("v1.2.0".to_owned(), digest.clone()))).into();
        let edited = set_images(OVERLAY, &images).unwrap();
        assert_eq!(edited, OVERLAY.replace("v1.1.1", "v1.2.0").replace("sha256:old", digest.as_str()));
        let absent = [("gospelib-absent".to_owned(), ("v1.2.0".to_owned(), digest))].into();
        assert!(set_images(OVERLAY, &absent).is_err());
    }
}
