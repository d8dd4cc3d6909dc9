"""Addresses in S3."""

import re
from dataclasses import dataclass

from maskrcnn_server.errors import InvalidSetting

ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<key>.*))?")


@dataclass(frozen=True)
class Address:
    """A key or a prefix in S3."""

    bucket: str
    key: str

    def below(self, name: str) -> str:
        """The key of what is below this prefix."""
        return f"{self.key.rstrip('/')}/{name}".lstrip("/")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def address(text: str) -> Address:
    """An address in S3, taken apart. Raises InvalidSetting."""
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise InvalidSetting(f"{text}: not an address such as s3://bucket/prefix")
    return Address(match["bucket"], match["key"] or "")
