//! ECR: which images exist, under which digest, until when.

use std::collections::BTreeMap;

use aws_sdk_ecr::operation::describe_images::DescribeImagesError;
use aws_sdk_ecr::primitives::DateTime;
use aws_sdk_ecr::types::{ImageDetail, ImageFailureCode, ImageIdentifier};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;

use super::client::Aws;
use super::errors::{absent_is_none, sdk_error};
use crate::domain::Digest;
use crate::error::{Attempting, Error, Result};

/// How many requests of one batch are under way at a time (ECR allows some hundred a second).
const CONCURRENCY: usize = 32;

/// The most that ECR lists at once (API reference, DescribeImages).
const PAGE: i32 = 1000;

/// An image that is in ECR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    pub digest: Digest,
    pub tags: Vec<String>,
    pub pushed_at: Option<Timestamp>,
    /// Media type of its manifest: an image, or an index over several platforms.
    pub media_type: Option<String>,
    pub size_bytes: Option<i64>,
}

/// Images of one repository that are asked for together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageId {
    Tag(String),
    Digest(Digest),
}

impl Aws {
    /// The images of `repository` under `ids`, those that exist, in no order. One that is missing is left out.
    ///
    /// # Errors
    /// `NotFound` when the repository itself is missing.
    pub async fn describe_images(&self, repository: &str, ids: &[ImageId]) -> Result<Vec<ImageInfo>> {
        // One missing image fails the whole request (ImageNotFoundException), so each is asked for by itself.
        let found: Vec<Option<ImageInfo>> = stream::iter(ids)
            .map(|id| self.describe_image(repository, id))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The image under one id; `None` when it is not there.
    pub async fn describe_image(&self, repository: &str, id: &ImageId) -> Result<Option<ImageInfo>> {
        let what = match id {
            ImageId::Tag(tag) => format!("look for image {repository}:{tag} in ECR"),
            ImageId::Digest(digest) => format!("look for image {repository}@{} in ECR", digest.short()),
        };
        let wanted = identifier(id);
        let asked = self
            .retry()
            .read(async || {
                let sent = self.ecr().describe_images().repository_name(repository).image_ids(wanted.clone());
                sent.send().await.map_err(|error| {
                    let missing =
                        error.as_service_error().is_some_and(DescribeImagesError::is_repository_not_found_exception);
                    let ours = sdk_error(&what, error, self.profile());
                    // Of the two things that can be missing, a missing repository is a wrong configuration.
                    if missing { ours.class(crate::error::Class::Terminal).hint(repository_hint(self)) } else { ours }
                })
            })
            .await;
        absent_is_none(asked)?
            .and_then(|answer| answer.image_details().first().cloned())
            .map(|detail| image_info(&detail).attempting(|| what.clone()))
            .transpose()
    }

    /// Every image of `repository`, tagged or not, in no order.
    pub async fn all_images(&self, repository: &str) -> Result<Vec<ImageInfo>> {
        let what = format!("list the images of {repository} in ECR");
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = self
                .retry()
                .read(async || {
                    let asked = self.ecr().describe_images().repository_name(repository).max_results(PAGE);
                    let sent = asked.set_next_token(next.clone()).send().await;
                    sent.map_err(|error| sdk_error(&what, error, self.profile()))
                })
                .await?;
            for detail in page.image_details() {
                all.push(image_info(detail).attempting(|| what.clone())?);
            }
            next = page.next_token().map(ToOwned::to_owned);
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// The digest behind a tag; `None` when the tag is not there.
    pub async fn digest_of(&self, repository: &str, tag: &str) -> Result<Option<Digest>> {
        Ok(self.describe_image(repository, &ImageId::Tag(tag.to_owned())).await?.map(|image| image.digest))
    }

    /// The image under `digest`; `None` when it is gone (or never was there).
    pub async fn exists(&self, repository: &str, digest: &Digest) -> Result<Option<ImageInfo>> {
        self.describe_image(repository, &ImageId::Digest(digest.clone())).await
    }

    /// [`Aws::describe_image`] for many repositories at once; the answers are keyed as they were asked.
    pub async fn images(&self, wanted: &[(String, ImageId)]) -> Result<BTreeMap<(String, ImageId), Option<ImageInfo>>> {
        stream::iter(wanted.iter().map(|asked| self.asked_image(asked)).collect::<Vec<_>>())
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    async fn asked_image(&self, asked: &(String, ImageId)) -> Result<((String, ImageId), Option<ImageInfo>)> {
        Ok((asked.clone(), self.describe_image(&asked.0, &asked.1).await?))
    }

    /// What runs as `running` where the image `named` was asked for: the index under that name, if `running` is one of its platforms',
    /// else `running` itself. Only the index has tags.
    pub async fn whole(&self, repository: &str, named: &ImageId, running: &Digest) -> Result<Digest> {
        let Some((digest, manifest)) = self.manifest(repository, named).await? else { return Ok(running.clone()) };
        let what = || format!("read the manifest of {repository}@{} in ECR", digest.short());
        let within = platform_digests(&manifest).attempting(what)?.contains(running);
        Ok(if within { digest } else { running.clone() })
    }

    /// All digests under which the same image may be seen running: `digest` itself and, if it names an index, the image
    /// of each platform in it (a pod's `imageID` may be either). Empty when the image is not there.
    pub async fn equivalents(&self, repository: &str, digest: &Digest) -> Result<Vec<Digest>> {
        let Some((_, manifest)) = self.manifest(repository, &ImageId::Digest(digest.clone())).await? else {
            return Ok(Vec::new());
        };
        let mut all = vec![digest.clone()];
        let what = || format!("read the manifest of {repository}@{} in ECR", digest.short());
        all.extend(platform_digests(&manifest).attempting(what)?);
        Ok(all)
    }

    /// The manifest, or index, under an id, and its digest; `None` when it is not there.
    pub(super) async fn manifest(&self, repository: &str, id: &ImageId) -> Result<Option<(Digest, serde_json::Value)>> {
        let name = match id {
            ImageId::Tag(tag) => format!("{repository}:{tag}"),
            ImageId::Digest(digest) => format!("{repository}@{}", digest.short()),
        };
        let what = format!("read the manifest of {name} in ECR");
        let wanted = identifier(id);
        let answer = self
            .retry()
            .read(async || {
                let sent = self.ecr().batch_get_image().repository_name(repository).image_ids(wanted.clone());
                let sent = MANIFEST_TYPES.iter().fold(sent, |sent, kind| sent.accepted_media_types(*kind));
                sent.send().await.map_err(|error| sdk_error(&what, error, self.profile()))
            })
            .await?;
        if let Some(failure) = answer.failures().first() {
            return match failure.failure_code() {
                Some(ImageFailureCode::ImageNotFound) => Ok(None),
                _ => Err(Error::outside(what).because(failure.failure_reason().unwrap_or("ECR gives no reason"))),
            };
        }
        let found = answer.images().first();
        let digest = found.and_then(|image| image.image_id()?.image_digest()).unwrap_or_default();
        let digest = digest.parse().attempting(|| what.clone())?;
        let read = serde_json::from_str(found.and_then(|image| image.image_manifest()).unwrap_or("{}"));
        read.map(|manifest| Some((digest, manifest))).map_err(|error| Error::outside(what).because(error))
    }
}

/// OCI image specification and Docker image manifest V2 schema 2: single images and indexes.
const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The digests of the images in an index; none for a single image. Attestations (platform `unknown/unknown`) are no images.
fn platform_digests(manifest: &serde_json::Value) -> Result<Vec<Digest>> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        digest: String,
        platform: Option<Platform>,
    }
    #[derive(Deserialize)]
    struct Platform {
        #[serde(default)]
        os: String,
    }
    let index =
        Index::deserialize(manifest).map_err(|error| Error::outside("the manifest is no manifest").because(error))?;
    let images = index.manifests.iter().filter(|entry| entry.platform.as_ref().is_none_or(|p| p.os != "unknown"));
    images.map(|entry| entry.digest.parse()).collect()
}

fn identifier(id: &ImageId) -> ImageIdentifier {
    match id {
        ImageId::Tag(tag) => ImageIdentifier::builder().image_tag(tag).build(),
        ImageId::Digest(digest) => ImageIdentifier::builder().image_digest(digest.as_str()).build(),
    }
}

fn image_info(detail: &ImageDetail) -> Result<ImageInfo> {
    Ok(ImageInfo {
        digest: detail.image_digest().unwrap_or_default().parse()?,
        tags: detail.image_tags().to_vec(),
        pushed_at: detail.image_pushed_at().and_then(timestamp),
        media_type: detail.image_manifest_media_type().map(ToOwned::to_owned),
        size_bytes: detail.image_size_in_bytes(),
    })
}

fn repository_hint(aws: &Aws) -> String {
    format!("check images.registry and images.prefix, and that the repository is in region {}", aws.region())
}

/// An SDK time as ours; `None` outside the years that ours can hold.
pub(super) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_looked_into() {
        let digest = |c: &str| format!("sha256:{}", c.repeat(64));
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [
            {"digest": digest("a"), "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": digest("b"), "platform": {"os": "linux", "architecture": "arm64"}},
            {"digest": digest("c"), "platform": {"os": "unknown", "architecture": "unknown"}},
        ]});
        let found = platform_digests(&index).unwrap();
        assert_eq!(found.iter().map(Digest::as_str).collect::<Vec<_>>(), [digest("a"), digest("b")]);
        let image = serde_json::json!({"schemaVersion": 2, "config": {"digest": "sha256:00"}, "layers": []});
        assert!(platform_digests(&image).unwrap().is_empty());
        assert!(platform_digests(&"<html>".into()).is_err());
    }
}
