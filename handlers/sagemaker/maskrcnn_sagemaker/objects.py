"""What is in S3.

Objects are looked for in lists: who may only list below a prefix is told there that one is missing,
but is refused (403) when asking for it.
"""

from maskrcnn_sagemaker.aws import Aws, Call, Reader
from maskrcnn_server.store.addresses import Address


def etag(aws: Reader, place: Address) -> str | None:
    """What changes when the object does; None if there is none."""
    asked = {"Bucket": place.bucket, "Prefix": place.key, "MaxKeys": 1}
    listed = aws.find(Call("s3", "ListObjectsV2", asked)) or {}
    tags = {item["Key"]: str(item["ETag"]) for item in listed.get("Contents", [])}
    return tags.get(place.key)


def content(aws: Aws, place: Address) -> bytes | None:
    """The object's bytes; None if there is none."""
    if etag(aws, place) is None:
        return None
    found = aws.call(Call("s3", "GetObject", {"Bucket": place.bucket, "Key": place.key}))
    return bytes(found["Body"].read())
