//! What ECR holds: real OCI manifests, by digest, and tags that never move.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::domain::{Digest, ImageRef};
use crate::rehearsal::shape::Shape;

/// Media type of an OCI image manifest (OCI image specification 1.1, "Media Types").
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index: an image for each of several platforms.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image configuration.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// The rehearsed registry: repositories with immutable tags. Its host is a name only; nothing ever pulls from it.
#[derive(Debug)]
pub struct Registry {
    host: String,
    seed: u64,
    clock: OnceLock<Clock>,
    repositories: Mutex<BTreeMap<String, Repository>>,
    /// Image configurations by digest: what clients uploaded, and those of the builds.
    blobs: Mutex<BTreeMap<Digest, String>>,
    uploads: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Whether the accident of an earlier try has happened.
    tried_before: AtomicBool,
    /// Whether builds are made for several platforms.
    multi_platform: bool,
}

#[derive(Debug, Default)]
struct Repository {
    images: BTreeMap<Digest, Image>,
    tags: BTreeMap<String, Digest>,
}

/// One image of a repository.
#[derive(Debug, Clone)]
pub struct Image {
    pub digest: Digest,
    pub tags: Vec<String>,
    /// The manifest's bytes; their SHA-256 is the digest.
    pub manifest: String,
    pub media_type: String,
    /// Sum of configuration and layers in bytes.
    pub size: u64,
    /// World time of the push.
    pub pushed_at: Timestamp,
}

/// The tag names another image already, and tags of the repository are immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTaken {
    pub tag: String,
    pub by: Digest,
}

impl Registry {
    /// A registry with one empty repository for each service of `shape`; `seed` makes its layers differ between worlds. Where it is
    /// `multi_platform`, a build is an index over images of two platforms.
    #[must_use]
    pub fn new(shape: &Shape, seed: u64, multi_platform: bool) -> Self {
        let repositories = shape.services.iter().map(|service| (shape.object(service), Repository::default()));
        Self {
            host: shape.registry(),
            seed,
            clock: OnceLock::new(),
            repositories: Mutex::new(repositories.collect()),
            blobs: Mutex::default(),
            uploads: Mutex::default(),
            tried_before: AtomicBool::new(false),
            multi_platform,
        }
    }

    /// From now on a push is dated by this clock; before, it is dated with the epoch (see [`Registry::date`]).
    pub fn keep_time(&self, clock: &Clock) {
        let _ = self.clock.set(clock.clone());
    }

    /// `<account>.dkr.ecr.<region>.amazonaws.com`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Builds and pushes `repository`'s image of `commit`, without a tag. The same arguments make the same bytes;
    /// another `salt` makes other bytes of the same commit, as a rebuild does.
    pub fn build(&self, repository: &str, commit: &str, salt: &str) -> Digest {
        if !self.multi_platform {
            return self.build_for("amd64", repository, commit, salt);
        }
        let platforms = ["amd64", "arm64"].map(|architecture| {
            let digest = self.build_for(architecture, repository, commit, salt);
            let size = self.lock()[repository].images[&digest].manifest.len();
            let platform = json!({ "architecture": architecture, "os": "linux" });
            json!({ "mediaType": MANIFEST_TYPE, "digest": digest, "size": size, "platform": platform })
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": platforms });
        self.put(repository, index.to_string(), INDEX_TYPE)
    }

    fn build_for(&self, architecture: &str, repository: &str, commit: &str, salt: &str) -> Digest {
        let layers = ["base", "dependencies", "program"].map(|layer| match layer {
            // The base changes with nothing, the program with everything.
            "base" => format!("{}/base", self.seed),
            "dependencies" => format!("{}/{repository}/dependencies", self.seed),
            _ if architecture == "amd64" => format!("{}/{repository}/{commit}/{salt}", self.seed),
            _ => format!("{}/{repository}/{commit}/{salt}/{architecture}", self.seed),
        });
        let labels = [
            ("org.opencontainers.image.revision".to_owned(), commit.to_owned()),
            ("org.opencontainers.image.title".to_owned(), repository.to_owned()),
        ];
        let (config, manifest) = compose(&labels.into(), &layers, architecture, &format!("build {salt}"));
        self.keep_blob(config);
        self.put(repository, manifest, MANIFEST_TYPE)
    }

    /// Stores a manifest as it is and answers its digest.
    pub fn put(&self, repository: &str, manifest: String, media_type: &str) -> Digest {
        let digest = digest(&sha256(manifest.as_bytes()));
        let image = Image {
            digest: digest.clone(),
            tags: Vec::new(),
            size: declared_size(&manifest),
            manifest,
            media_type: media_type.to_owned(),
            pushed_at: self.clock.get().map_or(Timestamp::UNIX_EPOCH, Clock::now),
        };
        self.lock().entry(repository.to_owned()).or_default().images.entry(digest.clone()).or_insert(image);
        digest
    }

    /// Says when an image was pushed, for those of the past.
    pub fn date(&self, repository: &str, digest: &Digest, at: Timestamp) {
        let mut repositories = self.lock();
        let Some(found) = repositories.get_mut(repository) else { return };
        let platforms = found.images.get(digest).map(platforms).unwrap_or_default();
        for digest in platforms.iter().chain([digest]) {
            if let Some(image) = found.images.get_mut(digest) {
                image.pushed_at = at;
            }
        }
    }

    /// What a node says it runs of an image: of an index, the image of its own platform.
    #[must_use]
    pub fn on_node(&self, repository: &str, digest: Digest) -> Digest {
        let repositories = self.lock();
        let image = repositories.get(repository).and_then(|found| found.images.get(&digest));
        image.map(platforms).unwrap_or_default().into_iter().next().unwrap_or(digest)
    }

    /// Begins an upload; the same name begins the same one.
    pub fn begin_upload(&self, id: &str) -> String {
        lock(&self.uploads).insert(id.to_owned(), Vec::new());
        id.to_owned()
    }

    /// Takes bytes from `first` on; says how many there are by now. `None`: there is no such upload.
    pub fn upload(&self, id: &str, first: usize, bytes: &[u8]) -> Option<usize> {
        let mut uploads = lock(&self.uploads);
        let upload = uploads.get_mut(id)?;
        upload.truncate(first);
        upload.extend(bytes);
        Some(upload.len())
    }

    /// Ends an upload; what was uploaded is a blob from now on.
    pub fn finish_upload(&self, id: &str) -> Option<Digest> {
        let bytes = lock(&self.uploads).remove(id)?;
        Some(self.keep_blob(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn keep_blob(&self, text: String) -> Digest {
        let digest = digest(&sha256(text.as_bytes()));
        lock(&self.blobs).insert(digest.clone(), text);
        digest
    }

    /// A configuration by its digest.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Option<String> {
        let digest: Digest = digest.parse().ok()?;
        lock(&self.blobs).get(&digest).cloned()
    }

    /// Names an image. The tags are immutable: repeating the same tag for the same image is accepted, as are new tags.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) -> Result<(), TagTaken> {
        let mut repositories = self.lock();
        let tags = &mut repositories.entry(repository.to_owned()).or_default().tags;
        match tags.get(tag) {
            Some(by) if by != digest => Err(TagTaken { tag: tag.to_owned(), by: by.clone() }),
            Some(_) => Ok(()),
            None => {
                tags.insert(tag.to_owned(), digest.clone());
                Ok(())
            }
        }
    }

    /// An earlier try has pushed other bytes under this tag; it happens once.
    pub fn try_before(&self, repository: &str, tag: &str) {
        if !self.tried_before.swap(true, Ordering::Relaxed) {
            let earlier = self.build(repository, tag, "an earlier try");
            // A tag that is there already is trouble enough.
            let _ = self.tag(repository, tag, &earlier);
        }
    }

    /// The digest that a pull of `image` would get; `None` when the registry does not have it. A digest wins over a tag.
    #[must_use]
    pub fn resolve(&self, image: &ImageRef) -> Option<Digest> {
        let repository = image.name.strip_prefix(self.host.as_str())?.strip_prefix('/')?;
        let repositories = self.lock();
        let found = repositories.get(repository)?;
        let digest = match (&image.digest, &image.tag) {
            (Some(digest), _) => digest,
            (None, tag) => found.tags.get(tag.as_deref().unwrap_or("latest"))?,
        };
        found.images.contains_key(digest).then(|| digest.clone())
    }

    /// Deletes an image and its tags, as a lifecycle rule does.
    pub fn remove(&self, repository: &str, digest: &Digest) {
        if let Some(found) = self.lock().get_mut(repository) {
            found.images.remove(digest);
            found.tags.retain(|_, named| named != digest);
        }
    }

    /// Repository names in order.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The images of a repository in order of digest; `None` when there is no such repository.
    #[must_use]
    pub fn images(&self, repository: &str) -> Option<Vec<Image>> {
        let repositories = self.lock();
        let found = repositories.get(repository)?;
        let tags_of = |digest: &Digest| {
            found.tags.iter().filter(|(_, named)| *named == digest).map(|(tag, _)| tag.clone()).collect()
        };
        Some(found.images.values().map(|image| Image { tags: tags_of(&image.digest), ..image.clone() }).collect())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Repository>> {
        lock(&self.repositories)
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Configuration and manifest of an image with these labels and layers; a layer's bytes are nowhere, its text stands for
/// them. The same arguments make the same bytes.
#[must_use]
pub fn compose(labels: &BTreeMap<String, String>, layers: &[String], architecture: &str, by: &str) -> (String, String) {
    let layer = |text: &String| {
        let hash = sha256(text.as_bytes());
        (digest(&hash), 1_000_000 + u64::from(u32::from_be_bytes([0, hash[0], hash[1], hash[2]])))
    };
    let layers: Vec<(Digest, u64)> = layers.iter().map(layer).collect();
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|(digest, _)| digest).collect::<Vec<_>>() },
        "history": [{ "created_by": by }],
    })
    .to_string();
    let blob = |media_type: &str, digest: &Digest, size: u64| json!({ "mediaType": media_type, "digest": digest, "size": size });
    let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": blob(CONFIG_TYPE, &digest(&sha256(config.as_bytes())), config.len() as u64),
        "layers": layers.iter().map(|(digest, size)| blob(layer_type, digest, *size)).collect::<Vec<_>>(),
    })
    .to_string();
    (config, manifest)
}

/// The images in an index, the nodes' own platform first; none of a single image.
fn platforms(image: &Image) -> Vec<Digest> {
    let Ok(manifest) = serde_json::from_str::<serde_json::Value>(&image.manifest) else { return Vec::new() };
    let entries = manifest["manifests"].as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["digest"].as_str()?.parse().ok()).collect()
}

/// Configuration and layers as the manifest declares them.
fn declared_size(manifest: &str) -> u64 {
    let Ok(manifest) = serde_json::from_str::<serde_json::Value>(manifest) else { return 0 };
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers.chain([&manifest["config"]]).filter_map(|blob| blob["size"].as_u64()).sum()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn digest(hash: &[u8; 32]) -> Digest {
    let mut text = "sha256:".to_owned();
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text.parse().expect("64 hex digits were just written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_hash_of_the_manifest_and_tags_never_move() {
        let shape = Shape::gospelib();
        let registry = Registry::new(&shape, 1, false);
        let soaked = registry.build("gospelib-gateway", "c0ffee", "");
        assert_eq!(registry.build("gospelib-gateway", "c0ffee", ""), soaked);
        let rebuilt = registry.build("gospelib-gateway", "c0ffee", "again");
        assert_ne!(rebuilt, soaked);
        for image in registry.images("gospelib-gateway").unwrap() {
            assert_eq!(digest(&sha256(image.manifest.as_bytes())), image.digest);
        }
        registry.tag("gospelib-gateway", "v1.2.0", &soaked).unwrap();
        assert_eq!(registry.tag("gospelib-gateway", "v1.2.0", &rebuilt).unwrap_err().by, soaked);
        let image: ImageRef = format!("{}/gospelib-gateway:v1.2.0", shape.registry()).parse().unwrap();
        assert_eq!(registry.resolve(&image), Some(soaked.clone()));
        registry.remove("gospelib-gateway", &soaked);
        assert_eq!(registry.resolve(&image), None);
    }
}
