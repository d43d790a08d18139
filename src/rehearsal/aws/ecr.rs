//! ECR, in JSON 1.1 (API reference, version 2015-09-21).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::registry::{Image, MANIFEST_TYPE};
use super::router::account;
use super::upload;
use super::wire::{Call, Fault, page, seconds};
use crate::rehearsal::World;

/// The password of the user `AWS` that an authorization token holds.
pub const PASSWORD: &str = "rehearsal";

pub(super) fn answer(world: &World, call: &Call) -> Result<Value, Fault> {
    match call.operation.as_str() {
        "DescribeRepositories" => describe_repositories(world, call),
        "DescribeImages" => describe_images(world, call),
        "ListImages" => list_images(world, call),
        "BatchGetImage" => batch_get_image(world, call),
        "PutImage" => put_image(world, call),
        "GetLifecyclePolicy" => lifecycle_policy(world, call),
        "GetAuthorizationToken" => Ok(authorization(world)),
        "BatchCheckLayerAvailability" => layers(world, call),
        "InitiateLayerUpload" | "UploadLayerPart" | "CompleteLayerUpload" => upload::answer(world, call),
        "GetDownloadUrlForLayer" => upload::download_url(world, call),
        "DescribeImageScanFindings" => scan_findings(world, call),
        other => Err(Fault::not_rehearsed(format!("operation {other:?} of ECR"))),
    }
}

fn describe_repositories(world: &World, call: &Call) -> Result<Value, Fault> {
    let known = world.registry.repositories();
    let names = match call.body["repositoryNames"].as_array() {
        None => known,
        Some(asked) => {
            let asked: Vec<String> = asked.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
            match asked.iter().find(|name| !known.contains(name)) {
                Some(unknown) => return Err(no_repository(world, unknown)),
                None => asked,
            }
        }
    };
    let created = seconds(world.past.candidate.at - Duration::from_hours(400 * 24));
    let describe = |name: &String| {
        json!({
            "repositoryArn": format!("arn:aws:ecr:{}:{}:repository/{name}", world.shape.region, account(world)),
            "registryId": account(world),
            "repositoryName": name,
            "repositoryUri": format!("{}/{name}", world.registry.host()),
            "createdAt": created,
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": { "scanOnPush": true },
            "encryptionConfiguration": { "encryptionType": "AES256" },
        })
    };
    page(call, names.iter().map(describe).collect(), "repositories")
}

fn describe_images(world: &World, call: &Call) -> Result<Value, Fault> {
    let (repository, images) = repository(world, call)?;
    let selected = match call.body["imageIds"].as_array() {
        None => with_tag_status(call, images),
        Some(ids) => {
            let find = |id| find(&images, id).cloned().ok_or_else(|| no_image(world, repository, id));
            ids.iter().map(find).collect::<Result<_, _>>()?
        }
    };
    let describe = |image: &Image| {
        let mut detail = json!({
            "registryId": account(world),
            "repositoryName": repository,
            "imageDigest": image.digest,
            "imageSizeInBytes": image.size,
            "imagePushedAt": seconds(image.pushed_at),
            "imageScanStatus": { "status": "COMPLETE", "description": "The scan was completed successfully." },
            "imageScanFindingsSummary": {
                "imageScanCompletedAt": seconds(image.pushed_at + Duration::from_secs(30)),
                "findingSeverityCounts": { "LOW": 2 },
            },
            "imageManifestMediaType": image.media_type,
            "artifactMediaType": super::registry::CONFIG_TYPE,
        });
        if !image.tags.is_empty() {
            detail["imageTags"] = json!(image.tags);
        }
        detail
    };
    page(call, selected.iter().map(describe).collect(), "imageDetails")
}

fn list_images(world: &World, call: &Call) -> Result<Value, Fault> {
    let (_, images) = repository(world, call)?;
    let ids = |image: Image| {
        let digest = json!(image.digest);
        if image.tags.is_empty() {
            return vec![json!({ "imageDigest": digest })];
        }
        image.tags.iter().map(|tag| json!({ "imageDigest": digest, "imageTag": tag })).collect()
    };
    page(call, with_tag_status(call, images).into_iter().flat_map(ids).collect(), "imageIds")
}

fn batch_get_image(world: &World, call: &Call) -> Result<Value, Fault> {
    let (repository, known) = repository(world, call)?;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in call.body["imageIds"].as_array().into_iter().flatten() {
        match find(&known, id) {
            Some(image) => images.push(image_answer(world, repository, image, id["imageTag"].as_str())),
            None => failures.push(json!({
                "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
            })),
        }
    }
    Ok(json!({ "images": images, "failures": failures }))
}

fn image_answer(world: &World, repository: &str, image: &Image, tag: Option<&str>) -> Value {
    let mut id = json!({ "imageDigest": image.digest });
    if let Some(tag) = tag {
        id["imageTag"] = json!(tag);
    }
    json!({
        "registryId": account(world),
        "repositoryName": repository,
        "imageId": id,
        "imageManifest": image.manifest,
        "imageManifestMediaType": image.media_type,
    })
}

fn put_image(world: &World, call: &Call) -> Result<Value, Fault> {
    may_push(world, call, "PutImage")?;
    let tag = call.text("imageTag");
    if let (true, Some(tag), Some(name)) = (world.scenario.world.images.retag, tag, call.text("repositoryName"))
        && tag.starts_with("hotfix-")
        && world.registry.images(name).is_some()
    {
        world.registry.try_before(name, tag);
    }
    let (repository, before) = repository(world, call)?;
    let manifest = call.text("imageManifest").filter(|text| serde_json::from_str::<Value>(text).is_ok());
    let manifest = manifest.ok_or_else(|| invalid("Invalid parameter at 'imageManifest': not a manifest"))?;
    let declared: Value = serde_json::from_str(manifest).unwrap_or_default();
    let media_type = call.text("imageManifestMediaType").or(declared["mediaType"].as_str()).unwrap_or(MANIFEST_TYPE);
    let same = before.iter().find(|image| image.manifest == manifest);
    if same.is_some_and(|image| tag.is_none_or(|tag| image.tags.iter().any(|known| known == tag))) {
        let text = format!("Image with the same manifest already exists in the '{repository}' repository");
        return Err(Fault::new(400, "ImageAlreadyExistsException", text));
    }
    if let Some(taken) = tag.filter(|tag| before.iter().any(|image| image.tags.iter().any(|known| known == tag))) {
        let text = format!(
            "The image tag '{taken}' already exists in the '{repository}' repository and cannot be overwritten \
             because the repository is immutable."
        );
        return Err(Fault::new(400, "ImageTagAlreadyExistsException", text));
    }
    let digest = world.registry.put(repository, manifest.to_owned(), media_type);
    if let Some(tag) = tag {
        world.registry.tag(repository, tag, &digest).map_err(|taken| {
            Fault::new(400, "ImageTagAlreadyExistsException", format!("The image tag '{}' exists", taken.tag))
        })?;
    }
    let image = world.registry.images(repository).into_iter().flatten().find(|image| image.digest == digest);
    let image = image.ok_or_else(|| invalid("the image was removed while it was pushed"))?;
    Ok(json!({ "image": image_answer(world, repository, &image, tag) }))
}

/// IAM is not rehearsed, but for the scenario in which nobody may push.
pub(super) fn may_push(world: &World, call: &Call, action: &str) -> Result<(), Fault> {
    if !world.scenario.world.images.push_denied {
        return Ok(());
    }
    let (account, region) = (account(world), &world.shape.region);
    let text = format!(
        "User: arn:aws:sts::{account}:assumed-role/gospelib-release/dana-dev is not authorized to perform: ecr:{action} \
         on resource: arn:aws:ecr:{region}:{account}:repository/{} because no identity-based policy allows the \
         ecr:{action} action",
        call.text("repositoryName").unwrap_or_default()
    );
    Err(Fault::new(400, "AccessDeniedException", text))
}

fn lifecycle_policy(world: &World, call: &Call) -> Result<Value, Fault> {
    let (repository, _) = repository(world, call)?;
    let rule = |priority: u8, description: &str, selection: Value| {
        json!({
            "rulePriority": priority, "description": description, "selection": selection,
            "action": { "type": "expire" },
        })
    };
    let mut rules = vec![
        rule(
            1,
            "untagged images go after two weeks",
            json!({
                "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14,
            }),
        ),
        rule(
            3,
            "the last hundred builds of main stay",
            json!({
                "tagStatus": "tagged", "tagPrefixList": ["sha-"], "countType": "imageCountMoreThan", "countNumber": 100,
            }),
        ),
    ];
    let expired = world.scenario.world.images.expired.as_ref();
    if expired.is_some_and(|expired| world.shape.object(&expired.service) == repository) {
        rules.push(rule(
            2,
            "releases go after thirty days",
            json!({
                "tagStatus": "tagged", "tagPrefixList": ["v"], "countType": "sinceImagePushed", "countUnit": "days",
                "countNumber": 30,
            }),
        ));
    }
    let policy = json!({ "rules": rules });
    Ok(json!({
        "registryId": account(world),
        "repositoryName": repository,
        "lifecyclePolicyText": policy.to_string(),
        "lastEvaluatedAt": seconds(world.clock.now() - Duration::from_hours(1)),
    }))
}

fn authorization(world: &World) -> Value {
    json!({ "authorizationData": [{
        "authorizationToken": STANDARD.encode(format!("AWS:{PASSWORD}")),
        "expiresAt": seconds(world.clock.now() + Duration::from_hours(12)),
        "proxyEndpoint": format!("https://{}", world.registry.host()),
    }]})
}

fn layers(world: &World, call: &Call) -> Result<Value, Fault> {
    let (_, images) = repository(world, call)?;
    let manifests: Vec<Value> = images.iter().filter_map(|image| serde_json::from_str(&image.manifest).ok()).collect();
    let known = |digest: &Value| {
        manifests
            .iter()
            .flat_map(|manifest| manifest["layers"].as_array().into_iter().flatten())
            .find(|layer| layer["digest"] == *digest)
    };
    let answer = |digest: &Value| match known(digest) {
        Some(layer) => json!({
            "layerDigest": digest, "layerAvailability": "AVAILABLE",
            "layerSize": layer["size"], "mediaType": layer["mediaType"],
        }),
        None => json!({ "layerDigest": digest, "layerAvailability": "UNAVAILABLE" }),
    };
    let asked = call.body["layerDigests"].as_array().into_iter().flatten();
    Ok(json!({ "layers": asked.map(answer).collect::<Vec<_>>(), "failures": [] }))
}

fn scan_findings(world: &World, call: &Call) -> Result<Value, Fault> {
    let (repository, images) = repository(world, call)?;
    let id = &call.body["imageId"];
    let image = find(&images, id).ok_or_else(|| no_image(world, repository, id))?;
    let finding = |name: &str| {
        json!({
            "name": name, "severity": "LOW",
            "uri": format!("https://nvd.nist.gov/vuln/detail/{name}"),
            "attributes": [{ "key": "package_name", "value": "libc-bin" }],
        })
    };
    Ok(json!({
        "registryId": account(world),
        "repositoryName": repository,
        "imageId": { "imageDigest": image.digest },
        "imageScanStatus": { "status": "COMPLETE", "description": "The scan was completed successfully." },
        "imageScanFindings": {
            "imageScanCompletedAt": seconds(image.pushed_at + Duration::from_secs(30)),
            "vulnerabilitySourceUpdatedAt": seconds(image.pushed_at),
            "findingSeverityCounts": { "LOW": 2 },
            "findings": [finding("CVE-2019-1010022"), finding("CVE-2018-20796")],
        },
    }))
}

/// The repository that is asked for, with its images.
pub(super) fn repository<'a>(world: &World, call: &'a Call) -> Result<(&'a str, Vec<Image>), Fault> {
    let name = call.text("repositoryName").unwrap_or_default();
    let images = world.registry.images(name).ok_or_else(|| no_repository(world, name))?;
    Ok((name, images))
}

/// The image that an `imageId` names, by digest, by tag, or by both.
fn find<'a>(images: &'a [Image], id: &Value) -> Option<&'a Image> {
    let (digest, tag) = (id["imageDigest"].as_str(), id["imageTag"].as_str());
    images.iter().find(|image| {
        (digest.is_some() || tag.is_some())
            && digest.is_none_or(|digest| image.digest.as_str() == digest)
            && tag.is_none_or(|tag| image.tags.iter().any(|known| known == tag))
    })
}

fn with_tag_status(call: &Call, images: Vec<Image>) -> Vec<Image> {
    let keep = |image: &Image| match call.body["filter"]["tagStatus"].as_str() {
        Some("TAGGED") => !image.tags.is_empty(),
        Some("UNTAGGED") => image.tags.is_empty(),
        _ => true,
    };
    images.into_iter().filter(keep).collect()
}

fn no_repository(world: &World, name: &str) -> Fault {
    let account = account(world);
    let text = format!("The repository with name '{name}' does not exist in the registry with id '{account}'");
    Fault::new(400, "RepositoryNotFoundException", text)
}

fn no_image(world: &World, repository: &str, id: &Value) -> Fault {
    let part = |name: &str| id[name].as_str().unwrap_or("null").to_owned();
    let text = format!(
        "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository with name \
         '{repository}' in the registry with id '{}'",
        part("imageDigest"),
        part("imageTag"),
        account(world)
    );
    Fault::new(400, "ImageNotFoundException", text)
}

fn invalid(message: &str) -> Fault {
    Fault::new(400, "InvalidParameterException", message)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Method, Uri};
    use bytes::Bytes;

    use super::*;
    use crate::rehearsal::github::testing;

    fn ask(world: &World, operation: &str, body: Value) -> Result<Value, Fault> {
        let mut headers = HeaderMap::new();
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        headers.insert("x-amz-target", target.parse().unwrap());
        let body = Bytes::from(body.to_string());
        answer(world, &Call::read(&Method::POST, &Uri::from_static("/"), &headers, &body))
    }

    #[test]
    fn an_expired_image_is_gone_and_the_rule_says_why() {
        let (_dir, world) = testing::world("{images: {expired: {service: study, version: v1.1.0}}}");
        let find = |service: &str, tag: &str| {
            let body = json!({ "repositoryName": format!("gospelib-{service}"), "imageIds": [{ "imageTag": tag }] });
            ask(&world, "DescribeImages", body)
        };
        assert_eq!(find("study", "v1.1.0").unwrap_err().code, "ImageNotFoundException");
        assert!(find("study", "v1.1.1").is_ok() && find("auth", "v1.1.0").is_ok());
        let rules = |service: &str| {
            let body = json!({ "repositoryName": format!("gospelib-{service}") });
            let answer = ask(&world, "GetLifecyclePolicy", body).unwrap();
            let policy: Value = serde_json::from_str(answer["lifecyclePolicyText"].as_str().unwrap()).unwrap();
            policy["rules"].as_array().unwrap().clone()
        };
        let expires = |rule: &Value| rule["selection"]["tagPrefixList"] == json!(["v"]);
        assert!(rules("study").iter().any(expires) && !rules("auth").iter().any(expires));
        let released = &world.past.releases[1];
        let age = world.traffic.start().duration_since(released.at);
        assert!(age.as_hours() > 30 * 24, "the rule is to blame: {age}");
    }
}
