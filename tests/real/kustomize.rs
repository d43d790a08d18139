//! The edited overlay rendered by Kustomize itself: the images that were meant change, and nothing else does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gospel_release::domain::{Digest, OverlayImage, with_images};
use serde::Deserialize;
use serde_yaml::Value;

use crate::harness::{Client, need};

/// The kustomizations of the unit tests.
#[allow(dead_code, reason = "the model's own edit is for the unit tests")]
#[path = "../../src/domain/overlay_edit/tests/shape.rs"]
mod shape;

use self::shape::{IMAGES, Overlay, Tape};

const ROUNDS: u64 = 40;

/// A Deployment for each image, and each image once more beside the one before.
fn base() -> String {
    let deployment = |index: usize| {
        let (own, other) = (IMAGES[index], IMAGES[(index + 1) % IMAGES.len()]);
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata:
  name: service-{index}
  labels: {{app: service-{index}}}
spec:
  selector: {{matchLabels: {{app: service-{index}}}}}
  template:
    metadata: {{labels: {{app: service-{index}}}}}
    spec:
      initContainers: [{{name: first, image: \"{other}:v0\"}}]
      containers: [{{name: main, image: \"{own}:v0\"}}, {{name: aside, image: \"other/{own}:v0\"}}]
"
        )
    };
    (0..IMAGES.len()).map(deployment).collect::<Vec<_>>().join("---\n")
}

/// What Kustomize renders: the objects without their containers' images, and those.
fn rendered(dir: &Path, kustomization: &[u8]) -> (Vec<Value>, Vec<String>) {
    fs::write(dir.join("kustomization.yaml"), kustomization).unwrap();
    let text = Client::new("kubectl").arg("kustomize").arg(dir).run().ok();
    let documents = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let mut objects: Vec<Value> = documents.collect();
    let mut images = Vec::new();
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        for kind in ["initContainers", "containers"] {
            for container in object["spec"]["template"]["spec"][kind].as_sequence_mut().unwrap() {
                let image = container.as_mapping_mut().unwrap().remove("image").unwrap();
                images.push(image.as_str().unwrap().to_owned());
            }
        }
    }
    (objects, images)
}

/// The images that the base's become. Kustomize before 5.0.2 leaves the tag out where there is a digest.
fn meant(images: &[String], overlay: &BTreeMap<String, OverlayImage>, both: bool) -> Vec<String> {
    let image = |image: &String| {
        let base = image.strip_suffix(":v0").unwrap();
        let Some(OverlayImage { name, tag, digest }) = overlay.get(base) else { return image.clone() };
        let name = name.as_deref().unwrap_or(base);
        match (tag, digest) {
            (Some(tag), Some(digest)) if both => format!("{name}:{tag}@{digest}"),
            (_, Some(digest)) => format!("{name}@{digest}"),
            (tag, None) => format!("{name}:{}", tag.as_deref().unwrap_or("v0")),
        }
    };
    images.iter().map(image).collect()
}

#[test]
fn kustomize_renders_the_edited_images_and_all_else_as_before() {
    if !need(&["kubectl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("base.yaml"), base()).unwrap();
    let (bare, base) = rendered(dir.path(), b"resources: [base.yaml]\n");
    assert_eq!((bare.len(), base.len()), (IMAGES.len(), 3 * IMAGES.len()));
    let digest: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
    let pinned = format!("resources: [base.yaml]\nimages: [{{name: {}, newTag: v1, digest: {digest}}}]\n", IMAGES[0]);
    let both = rendered(dir.path(), pinned.as_bytes()).1.iter().any(|image| image.contains(":v1@"));

    let mut edited = 0;
    for seed in 0..ROUNDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let choices: Vec<u16> = (0..160).map(|_| random.u16(..)).collect();
        let mut tape = Tape::new(&choices);
        let overlay = Overlay::draw(&mut tape);
        let wanted = overlay.wish(&mut tape);
        let before = overlay.print();
        let after = with_images(&before, &wanted).unwrap();
        let shown = format!("seed {seed}\n{}\n{}", String::from_utf8_lossy(&before), String::from_utf8_lossy(&after));

        let (objects, images) = rendered(dir.path(), &before);
        assert_eq!(images, meant(&base, &overlay.says(), both), "{shown}");
        let (objects_after, images_after) = rendered(dir.path(), &after);
        assert_eq!(objects_after, objects, "{shown}");
        let mut says = overlay.says();
        for (image, want) in wanted {
            let name = want.name.clone().or_else(|| says.remove(&image).and_then(|said| said.name));
            says.insert(image, OverlayImage { name, ..want });
        }
        assert_eq!(images_after, meant(&base, &says, both), "{shown}");
        edited += u64::from(images_after != images);
    }
    assert!(edited > ROUNDS / 2, "only {edited} of {ROUNDS} edits changed an image");
}

/// Tags that are numbers, words and comments to YAML, where they stand without quotes.
#[test]
fn kustomize_reads_each_written_tag_as_a_string() {
    if !need(&["kubectl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("base.yaml"), base()).unwrap();
    let tags = [
        "1.10",
        "1.2.0",
        "20250304",
        "0017",
        "018",
        "1e3",
        "12e5",
        "0x1f",
        "0b11",
        "1_0",
        "on",
        "No",
        "y",
        "null",
        "~",
        ".5",
        "+1",
        "1:30",
        "2025-03-04",
        "a: b",
        "a #b",
    ];
    for start in ["newTag: v1", "newTag: 'v1'", "newTag: \"v1\"", "newTag:", "digest:"] {
        for tag in tags {
            let before = format!("resources: [base.yaml]\nimages:\n- name: {}\n  {start}\n", IMAGES[0]);
            let want = OverlayImage { tag: Some(tag.into()), ..OverlayImage::default() };
            let after = with_images(before.as_bytes(), &BTreeMap::from([(IMAGES[0].to_owned(), want)])).unwrap();
            let images = rendered(dir.path(), &after).1;
            assert!(
                images.contains(&format!("{}:{tag}", IMAGES[0])),
                "{}\n{images:?}",
                String::from_utf8_lossy(&after)
            );
            // Quotes are the same whatever the tag is.
            if start.ends_with(['\'', '"']) {
                break;
            }
        }
    }
}
