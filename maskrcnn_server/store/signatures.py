"""Files that are not what their names say, by their first bytes. Nothing is parsed."""

import re
import zipfile
from pathlib import Path

from maskrcnn_server.work import meter, open_zip

MAX_BYTES = 1024
"""Number of bytes at the beginning of a file that are looked at."""
ZIP = b"PK\x03\x04"
"""First bytes of a zip file."""
SIGNATURES = (
    (rb"\Z", "is empty: copy or download it again"),
    (
        rb"version https://git-lfs\.",
        "is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned",
    ),
    (
        rb"\s*<(!doctype html|html|head)",
        "is an HTML page, such as a login or an error: download the file itself",
    ),
    (rb"\s*<(\?xml|error)", "is an XML text, such as an error of S3: download it again"),
    (
        rb"\s*(\{\s*\"|\[\s*[\{\[\"])",
        "is a JSON text, such as an error of a server: download it again",
    ),
    (rb"\0{512}", "begins with zeros: its download was broken off, download it again"),
    (rb"\x00\x05\x16\x07", "is a file of macOS's own about another file: remove it"),
    (rb"\x1f\x8b", "is compressed by gzip: unpack it"),
    (rb"BZh\d1AY", "is compressed by bzip2: unpack it"),
    (rb"\xfd7zXZ", "is compressed by xz: unpack it"),
    (rb"\x28\xb5\x2f\xfd", "is compressed by Zstandard: unpack it"),
    (rb"7z\xbc\xaf|Rar!", "is an archive of 7-Zip or RAR: unpack it, and pack a .zip"),
    (rb".{257}ustar", "is a tar archive: unpack it"),
)
"""Beginnings of files, and what such files are."""


def signature(path: Path) -> str | None:
    """What a file is, and advice, as the predicate of a sentence: `is empty: copy it again`.

    None if its first bytes show nothing. Raises OSError if it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(MAX_BYTES).removeprefix(b"\xef\xbb\xbf")
    for pattern, description in SIGNATURES:
        if re.match(pattern, start, re.IGNORECASE | re.DOTALL):
            return description
    if start.startswith(ZIP):
        try:
            open_zip(path, meter(path)).close()
        except (zipfile.BadZipFile, ValueError):
            return "is cut off: its end is missing; copy or download it again"
    return None
