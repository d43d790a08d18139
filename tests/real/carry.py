"""Tells the rehearsed ECR of an image that a real registry holds: in AWS the two are one.

    carry.py REFERENCE      127.0.0.1:5000/gospelib-auth:hotfix-0123456789ab
"""

import hashlib
import subprocess
import sys

import boto3

reference = sys.argv[1]
name, tag = reference.rsplit(":", 1)
repository = name.split("/", 1)[1]


def skopeo(*options):
    """Bytes as the registry has them."""
    command = ["skopeo", "inspect", "--raw", *options, f"docker://{reference}"]
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout


ecr = boto3.client("ecr")
config = skopeo("--config")
upload = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
ecr.upload_layer_part(
    repositoryName=repository, uploadId=upload, partFirstByte=0, partLastByte=len(config) - 1, layerPartBlob=config
)
digest = "sha256:" + hashlib.sha256(config).hexdigest()
ecr.complete_layer_upload(repositoryName=repository, uploadId=upload, layerDigests=[digest])
manifest = skopeo().decode()
ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest)
