"""Instances with GPUs: the images that can use them, and the drivers that these need."""

import json
import re
import urllib.request
from typing import Any

from maskrcnn_sagemaker.aws import Call, Reader
from maskrcnn_sagemaker.places import EcrImage
from maskrcnn_server.errors import DeploymentFailed, InvalidSetting

CUDA_LABEL = "maskrcnn.cuda"
"""Label of our images: the version of CUDA; empty for a CPU."""
GPU_TAG = re.compile(r"(?:^|[-_.])gpu(?:$|[-_.])")
TAGGED_CUDA = "12"
"""CUDA version of an image of which only the tag is known."""
GPU_TYPE = re.compile(r"ml\.[gp]\d")
OLD_DRIVER = re.compile(r"ml\.(?:g4dn|g5|g6|p3|p4d|p4de|p5)\.")
"""Types whose default AMI has a driver older than 550, which may be 470, for CUDA 11.4."""
INFERENCE_AMIS = {
    "12": "al2-ami-sagemaker-inference-gpu-2-1",
    "13": "al2023-ami-sagemaker-inference-gpu-4-1",
}
"""AMIs for endpoints by major version of CUDA: drivers 535 and 580.

Source: AWS's API reference, ProductionVariant."""
TRANSFORM_AMI = "al2-ami-sagemaker-batch-gpu-535"
"""AMI for batch transform, with driver 535: enough for CUDA 12.

Source: AWS's API reference, TransformResources."""
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
TIMEOUT_S = 20


def has_gpu(instance_type: str) -> bool:
    """Whether instances of a type have an NVIDIA GPU."""
    return GPU_TYPE.match(instance_type) is not None


def ami(
    aws: Reader, image: EcrImage, instance_type: str | None, *, batch: bool, any_image: bool
) -> str | None:
    """AMI whose driver the image's CUDA can use. None: the default one.

    Raises InvalidSetting if the image is not known to compute on a GPU, unless `any_image`.
    """
    if instance_type is None or not has_gpu(instance_type):
        return None
    if instance_type.startswith("ml.p2."):
        raise InvalidSetting(
            f"{instance_type}: no PyTorch of today runs on its GPU: ml.g4dn.xlarge"
        )
    cuda = cuda_of(aws, image)
    if not cuda:
        if any_image:
            return None
        backend = image.repository.rpartition("maskrcnn-server-")[2].replace("-", "_")
        raise InvalidSetting(
            f"{image.uri} computes on a CPU, and {instance_type} has a GPU: "
            f"`build_tools/build_and_push.sh --gpu {image.region} {backend}` builds an image that "
            "uses it, and --allow-cpu-image pays for a GPU that idles"
        )
    major = cuda.partition(".")[0]
    if not batch:
        needs = major != "12" or OLD_DRIVER.match(instance_type)
        return INFERENCE_AMIS.get(major) if needs else None
    if major != "12":
        raise InvalidSetting(
            f"{image.uri} has CUDA {cuda}, but batch transform has drivers for CUDA 12 at most"
        )
    return TRANSFORM_AMI


def cuda_of(aws: Reader, image: EcrImage) -> str:
    """CUDA version of an image, by its label, else by its tag. Empty: for a CPU, or unknown."""
    try:
        labels = _labels(aws, image)
    except (DeploymentFailed, OSError, LookupError, ValueError, TypeError):
        labels = {}
    if CUDA_LABEL in labels:
        return str(labels[CUDA_LABEL])
    return TAGGED_CUDA if GPU_TAG.search(image.tag or "") else ""


def _labels(aws: Reader, image: EcrImage) -> dict[str, str]:
    """Labels of an image in ECR. Raises what a reply that is not as expected makes it raise."""
    named = {"imageDigest": image.digest} if image.digest else {"imageTag": image.tag or "latest"}
    manifest = _manifest(aws, image, named)
    if manifests := manifest.get("manifests"):
        manifest = _manifest(aws, image, {"imageDigest": manifests[0]["digest"]})
    place = {"registryId": image.account, "repositoryName": image.repository}
    layer = {**place, "layerDigest": manifest["config"]["digest"]}
    found = aws.find(Call("ecr", "GetDownloadUrlForLayer", layer))
    with urllib.request.urlopen(_found(found)["downloadUrl"], timeout=TIMEOUT_S) as reply:
        config = json.load(reply)["config"]
    return config.get("Labels") or {}


def _manifest(aws: Reader, image: EcrImage, named: dict[str, str]) -> Any:
    asked = {
        "registryId": image.account,
        "repositoryName": image.repository,
        "imageIds": [named],
        "acceptedMediaTypes": list(MANIFESTS),
    }
    found = _found(aws.find(Call("ecr", "BatchGetImage", asked)))
    return json.loads(found["images"][0]["imageManifest"])


def _found(reply: Any | None) -> Any:
    if reply is None:
        raise LookupError
    return reply
