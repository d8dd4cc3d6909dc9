"""Objects in S3.

Objects are looked up in lists: with permission to list only below a prefix, a missing object is
reported as missing, while a direct request is refused (403).
"""

from maskrcnn_predict.addresses import Address
from maskrcnn_sagemaker.aws import Aws, Call, Reader


def etag(aws: Reader, place: Address) -> str | None:
    """ETag of an object; None if it does not exist."""
    asked = {"Bucket": place.bucket, "Prefix": place.key, "MaxKeys": 1}
    listed = aws.find(Call("s3", "ListObjectsV2", asked)) or {}
    tags = {item["Key"]: str(item["ETag"]) for item in listed.get("Contents", [])}
    return tags.get(place.key)


def etags(aws: Reader, place: Address) -> str:
    """Keys and ETags of the first thousand objects below a prefix, as one text."""
    listed = aws.find(Call("s3", "ListObjectsV2", {"Bucket": place.bucket, "Prefix": place.key}))
    return "".join(f"{item['Key']} {item['ETag']}\n" for item in (listed or {}).get("Contents", []))


def content(aws: Aws, place: Address) -> bytes | None:
    """Bytes of an object; None if it does not exist."""
    if etag(aws, place) is None:
        return None
    found = aws.call(Call("s3", "GetObject", {"Bucket": place.bucket, "Key": place.key}))
    return bytes(found["Body"].read())
