"""Addresses as people may see them: without what may be secret."""

import re

ADDRESS = re.compile(r"(?<=:)/+[^\s<>\"]+")
"""Whatever follows the scheme of an address in a text, and punctuation after it."""
PUNCTUATION = ".,:;)]}'"


def redacted(text: str) -> str:
    """The text without user names, passwords, queries and fragments of the addresses in it.

    A signature is a query, and a path is none.
    """
    return ADDRESS.sub(lambda found: _shown(found[0]), text)


def _shown(address: str) -> str:
    end = len(address.rstrip(PUNCTUATION))
    address, after = address[:end], address[end:]
    place = address.lstrip("/")
    slashes = address[: len(address) - len(place)]
    host = re.split("[/?#]", place, maxsplit=1)[0]
    _, colon, port = host.rpartition(":")
    if "@" in host:
        place = place[host.rindex("@") + 1 :]
    elif colon and not port.isdecimal():
        # A password with a character in it that should have been written as %2F or the like.
        place = place.rpartition("@")[2]
    return slashes + re.split("[?#]", place, maxsplit=1)[0] + after
