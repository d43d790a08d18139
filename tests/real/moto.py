"""Fills a moto server, by boto3, with what the AWS adapter is to find; prints what it made as JSON."""

import hashlib
import json

import boto3
from botocore.exceptions import ClientError

eks, ecr, secrets = (boto3.client(name) for name in ("eks", "ecr", "secretsmanager"))
role = "arn:aws:iam::123456789012:role/cluster"
network = {"subnetIds": ["subnet-12345678"]}
cluster = eks.create_cluster(name="contract", version="1.33", roleArn=role, resourcesVpcConfig=network)["cluster"]
for group in ("general", "spare"):
    eks.create_nodegroup(clusterName="contract", nodegroupName=group, nodeRole=role, subnets=network["subnetIds"],
                         scalingConfig={"minSize": 2, "maxSize": 4, "desiredSize": 2})

OCI = "application/vnd.oci.image."
name = "gospelib-gateway"
ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")


def push(manifest, tag=None):
    text = json.dumps(manifest)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    arguments = {"imageTag": tag} if tag else {}
    # Without imageDigest, moto invents one.
    ecr.put_image(repositoryName=name, imageManifest=text, imageDigest=digest,
                  imageManifestMediaType=manifest["mediaType"], **arguments)
    return digest


def image(seed):
    blob = "sha256:" + hashlib.sha256(seed.encode()).hexdigest()
    return {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", "digest": blob, "size": 10},
            "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": blob, "size": 20}]}


first, second = push(image("first"), "v1.0.0"), push(image("second"), "v1.1.0")
amd, arm = push(image("amd")), push(image("arm"))
index = push({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [
    {"mediaType": OCI + "manifest.v1+json", "digest": amd, "size": 1,
     "platform": {"architecture": "amd64", "os": "linux"}},
    {"mediaType": OCI + "manifest.v1+json", "digest": arm, "size": 1,
     "platform": {"architecture": "arm64", "os": "linux"}},
    {"mediaType": OCI + "manifest.v1+json", "digest": first, "size": 1,
     "platform": {"architecture": "unknown", "os": "unknown"}},
]}, "v1.2.0")
try:
    push(image("moved"), "v1.0.0")
    raise SystemExit("the tag moved")
except ClientError:
    pass
rules = {"rules": [{"rulePriority": 1, "description": "old builds go", "action": {"type": "expire"}, "selection": {
    "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 7}}]}
ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=json.dumps(rules))
ecr.create_repository(repositoryName="gospelib-bare")
secret = secrets.create_secret(Name="gospelib/production/database-url", SecretString="never read")
print(json.dumps({"cluster": cluster["arn"], "endpoint": cluster["endpoint"], "first": first, "second": second,
                  "index": index, "platforms": [amd, arm], "secret": secret["ARN"]}))
