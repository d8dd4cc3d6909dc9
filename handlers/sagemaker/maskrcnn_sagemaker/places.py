"""Names in AWS: images, roles, ARNs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_predict.targets import ENDPOINT_NAME
from maskrcnn_server.errors import InvalidSetting

IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+/"
    r"(?P<repository>[a-z0-9._/-]+)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role/.+")
MAX_NAME = 46
"""Maximum length of an endpoint's name: SageMaker's 63 characters, less the suffix of models and
jobs."""
INSTANCE_TYPE = re.compile(r"ml\.[a-z][a-z0-9-]*\.(?:\d*x?large|medium|metal)")
PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
"""Partitions by the beginning of the region's name; all other regions are in `aws`."""


@dataclass(frozen=True)
class EcrImage:
    """A container image in ECR."""

    uri: str
    account: str
    region: str
    repository: str
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Account:
    """Partition, region and account."""

    partition: str
    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """ARN of a resource of this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def bucket(self, bucket: str) -> str:
        """ARN of a bucket."""
        return f"arn:{self.partition}:s3:::{bucket}"


def endpoint_name(name: str) -> str:
    """The name, if SageMaker allows it. Raises InvalidSetting."""
    if len(name) > MAX_NAME or not ENDPOINT_NAME.fullmatch(name):
        raise InvalidSetting(
            f"{name!r}: a name has up to {MAX_NAME} letters, digits and single hyphens between them"
        )
    return name


def image(uri: str) -> EcrImage:
    """Parts of the URI of an image. Raises InvalidSetting."""
    match = IMAGE.fullmatch(uri)
    if match is None:
        raise InvalidSetting(
            f"{uri}: SageMaker takes images from ECR, such as "
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/maskrcnn-server:tensorpack"
        )
    account, region, repository, tag, digest = match.group(
        "account", "region", "repository", "tag", "digest"
    )
    return EcrImage(uri, account, region, repository, tag, digest)


def instance_type(text: str | None) -> str | None:
    """The instance type, if it looks like one, or None. Raises InvalidSetting."""
    if text is None or INSTANCE_TYPE.fullmatch(text):
        return text
    hint = f"ml.{text}" if INSTANCE_TYPE.fullmatch(f"ml.{text}") else "such as ml.m5.xlarge"
    raise InvalidSetting(f"{text}: not an instance type of SageMaker: {hint}")


def identifiers(texts: Sequence[str], prefix: str) -> tuple[str, ...]:
    """Ids of EC2's things, such as subnet-0abc. Raises InvalidSetting."""
    for text in texts:
        if not re.fullmatch(rf"{prefix}-[0-9a-f]{{8,17}}", text):
            raise InvalidSetting(f"{text}: not an id such as {prefix}-0123456789abcdef0")
    return tuple(texts)


def account(role: str, region: str) -> Account:
    """Account of a role, in a region. Raises InvalidSetting."""
    match = ROLE.fullmatch(role)
    if match is None:
        raise InvalidSetting(f"{role}: not a role's ARN, such as arn:aws:iam::123456789012:role/x")
    starts = (name for start, name in PARTITIONS.items() if region.startswith(start))
    partition = next(starts, match["partition"] if "iso" in match["partition"] else "aws")
    if partition != match["partition"]:
        raise InvalidSetting(
            f"{role}: is of the partition {match['partition']}, but {region} is in {partition}"
        )
    return Account(partition, region, match["account"])
