"""boto3 against the rehearsed AWS endpoint: parses what AWS' own service models describe, pages, errors, waiters."""

import hashlib
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CLUSTER = "gospelib-production"
REPOSITORY = "gospelib-gateway"
APP = sys.argv[1]
once = Config(retries={"total_max_attempts": 1}, proxies={})
checks = 0


def client(name):
    return boto3.client(name, config=once)


def check(condition, *what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"check {checks} failed: {what!r}")


def refused(code, status, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response
        check(found["Error"]["Code"] == code, found)
        check(found["ResponseMetadata"]["HTTPStatusCode"] == status, found)
        check(found["ResponseMetadata"]["RequestId"], found)
    else:
        sys.exit(f"{call} should have been refused with {code}")


def sts():
    who = client("sts").get_caller_identity()
    check(who["Account"] == "418272771234", who)
    check(who["Arn"].startswith("arn:aws:") and who["UserId"], who)


def eks():
    eks = client("eks")
    check(eks.list_clusters()["clusters"] == [CLUSTER])
    cluster = eks.describe_cluster(name=CLUSTER)["cluster"]
    check(cluster["arn"] == f"arn:aws:eks:us-east-1:418272771234:cluster/{CLUSTER}", cluster)
    check(cluster["endpoint"].startswith("https://127.0.0.1:"), cluster)
    check(cluster["createdAt"].year >= 2023, cluster)
    eks.get_waiter("cluster_active").wait(name=CLUSTER, WaiterConfig={"MaxAttempts": 1, "Delay": 1})
    groups = eks.list_nodegroups(clusterName=CLUSTER)["nodegroups"]
    group = eks.describe_nodegroup(clusterName=CLUSTER, nodegroupName=groups[0])["nodegroup"]
    check(group["status"] == "ACTIVE" and group["scalingConfig"]["desiredSize"] == 2, group)
    check(groups == ["general"] and group["version"] == cluster["version"] == "1.33", group)
    check(group["health"]["issues"] == [] and group["instanceTypes"] == ["t3.medium"], group)
    eks.get_waiter("nodegroup_active").wait(
        clusterName=CLUSTER, nodegroupName=groups[0], WaiterConfig={"MaxAttempts": 1, "Delay": 1})
    eks.get_waiter("addon_active").wait(
        clusterName=CLUSTER, addonName="coredns", WaiterConfig={"MaxAttempts": 1, "Delay": 1})
    refused("ResourceNotFoundException", 404, eks.describe_nodegroup, clusterName=CLUSTER, nodegroupName="nobody")
    addons = [name for page in eks.get_paginator("list_addons").paginate(
        clusterName=CLUSTER, PaginationConfig={"PageSize": 1}) for name in page["addons"]]
    check("coredns" in addons and len(addons) == 3, addons)
    for name in addons:
        check(eks.describe_addon(clusterName=CLUSTER, addonName=name)["addon"]["status"] == "ACTIVE")
    refused("ResourceNotFoundException", 404, eks.describe_cluster, name="nobody")
    refused("ResourceNotFoundException", 404, eks.describe_addon, clusterName=CLUSTER, addonName="nobody")


def ecr():
    ecr = client("ecr")
    repositories = [found["repositoryName"] for page in ecr.get_paginator("describe_repositories").paginate(
        PaginationConfig={"PageSize": 2}) for found in page["repositories"]]
    check(len(repositories) == len(set(repositories)) == 6 and REPOSITORY in repositories, repositories)
    repository = ecr.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    check(repository["imageTagMutability"] == "IMMUTABLE", repository)

    pages = ecr.get_paginator("describe_images").paginate(repositoryName=REPOSITORY, PaginationConfig={"PageSize": 1})
    images = [image for page in pages for image in page["imageDetails"]]
    listed = ecr.list_images(repositoryName=REPOSITORY, filter={"tagStatus": "TAGGED"})["imageIds"]
    tags = {tag for image in images for tag in image.get("imageTags", [])}
    check(tags == {image["imageTag"] for image in listed} and "v1.1.1" in tags, tags)
    check(all(image["imagePushedAt"].tzinfo for image in images), images)

    answer = ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1.1.1"}, {"imageTag": "none"}])
    check([failure["failureCode"] for failure in answer["failures"]] == ["ImageNotFound"], answer)
    image = answer["images"][0]
    manifest, digest = image["imageManifest"], image["imageId"]["imageDigest"]
    check(digest == "sha256:" + hashlib.sha256(manifest.encode()).hexdigest(), image)
    check(json.loads(manifest)["mediaType"] == image["imageManifestMediaType"], manifest)
    layers = [layer["digest"] for layer in json.loads(manifest)["layers"]]
    available = ecr.batch_check_layer_availability(repositoryName=REPOSITORY, layerDigests=layers)["layers"]
    check({layer["layerAvailability"] for layer in available} == {"AVAILABLE"}, available)

    # Another tag for the same bytes is how an image is promoted; a tag is never moved.
    put = ecr.put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageTag="boto3")["image"]
    check(put["imageId"] == {"imageDigest": digest, "imageTag": "boto3"}, put)
    refused("ImageAlreadyExistsException", 400, ecr.put_image,
            repositoryName=REPOSITORY, imageManifest=manifest, imageTag="boto3")
    other = json.dumps(json.loads(manifest) | {"annotations": {"by": "boto3"}})
    refused("ImageTagAlreadyExistsException", 400, ecr.put_image,
            repositoryName=REPOSITORY, imageManifest=other, imageTag="boto3")
    kept = ecr.describe_images(repositoryName=REPOSITORY, imageIds=[{"imageTag": "boto3"}])["imageDetails"][0]
    check(kept["imageDigest"] == digest and {"boto3", "v1.1.1"} <= set(kept["imageTags"]), kept)

    findings = ecr.describe_image_scan_findings(repositoryName=REPOSITORY, imageId={"imageTag": "v1.1.1"})
    check(findings["imageScanStatus"]["status"] == "COMPLETE", findings)
    ecr.get_waiter("image_scan_complete").wait(
        repositoryName=REPOSITORY, imageId={"imageTag": "v1.1.1"}, WaiterConfig={"MaxAttempts": 1})
    rules = json.loads(ecr.get_lifecycle_policy(repositoryName=REPOSITORY)["lifecyclePolicyText"])["rules"]
    check(all(rule["action"]["type"] == "expire" for rule in rules), rules)
    token = ecr.get_authorization_token()["authorizationData"][0]
    check(token["proxyEndpoint"].endswith("dkr.ecr.us-east-1.amazonaws.com"), token)
    refused("RepositoryNotFoundException", 400, ecr.describe_images, repositoryName="nobody")
    refused("ImageNotFoundException", 400, ecr.describe_images,
            repositoryName=REPOSITORY, imageIds=[{"imageTag": "none"}])


def secrets():
    secrets = client("secretsmanager")
    names = [secret["Name"] for page in secrets.get_paginator("list_secrets").paginate(
        PaginationConfig={"PageSize": 2}) for secret in page["SecretList"]]
    check(len(names) == len(set(names)) == 6 and "gospelib/production/database-url" in names, names)
    described = secrets.describe_secret(SecretId="gospelib/production/database-url")
    check(secrets.describe_secret(SecretId=described["ARN"])["Name"] == described["Name"], described)
    check(described["LastChangedDate"].tzinfo, described)
    refused("ResourceNotFoundException", 400, secrets.describe_secret, SecretId="nobody")
    refused("AccessDeniedException", 400, secrets.get_secret_value, SecretId=described["ARN"])


def amplify():
    amplify = client("amplify")
    apps = {app["appId"]: app["name"] for app in amplify.list_apps()["apps"]}
    check(len(apps) == 2 and APP in apps, apps)
    check(amplify.get_app(appId=APP)["app"]["createTime"].tzinfo)
    check([branch["branchName"] for branch in amplify.list_branches(appId=APP)["branches"]] == ["main"])
    branch = amplify.get_branch(appId=APP, branchName="main")["branch"]
    jobs = [job for page in amplify.get_paginator("list_jobs").paginate(
        appId=APP, branchName="main", PaginationConfig={"PageSize": 2}) for job in page["jobSummaries"]]
    check(jobs[0]["jobId"] == branch["activeJobId"] and jobs[0]["status"] == "SUCCEED", jobs)
    check([job["startTime"] for job in jobs] == sorted((job["startTime"] for job in jobs), reverse=True), jobs)
    job = amplify.get_job(appId=APP, branchName="main", jobId=jobs[0]["jobId"])["job"]
    check(job["summary"]["commitId"] == jobs[0]["commitId"] and len(jobs[0]["commitId"]) == 40, job)
    refused("NotFoundException", 404, amplify.get_app, appId="nobody")
    refused("NotFoundException", 404, amplify.get_branch, appId=APP, branchName="nobody")


for part in (sts, eks, ecr, secrets, amplify):
    part()
print(checks)
