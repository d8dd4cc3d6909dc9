"""Names in AWS: images, roles, ARNs."""

import re
from dataclasses import dataclass

from maskrcnn_predict.targets import ENDPOINT_NAME
from maskrcnn_server.errors import InvalidSetting

IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+/"
    r"(?P<repository>[a-z0-9._/-]+)(?:[:@].+)?"
)
ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role/.+")
MAX_NAME = 46
"""Maximum length of an endpoint's name: SageMaker's 63 characters, less the suffix of models and
jobs."""
PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
"""Partitions by the beginning of the region's name; all other regions are in `aws`."""


@dataclass(frozen=True)
class EcrImage:
    """A container image in ECR."""

    uri: str
    account: str
    region: str
    repository: str


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
    return EcrImage(uri, match["account"], match["region"], match["repository"])


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
