"""What Label Studio says about itself: addresses and tokens, by project."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from maskrcnn_server.errors import RequestError

MAX_PROJECTS = 1000
"""Number of projects whose connections are kept at most, the latest."""


class Connection(NamedTuple):
    """A Label Studio, as it said of itself."""

    url: str
    token: str

    def address(self, given: str) -> tuple[str, dict[str, str]]:
        """The whole address of an image, and the headers to fetch it with.

        The token goes to this Label Studio only. Raises RequestError for a path of an unknown host.
        """
        if not self.url and not urlsplit(given).scheme:
            raise RequestError(
                f"{given[:200]}: a path, and Label Studio has not said where; connect it anew",
                field="tasks",
            )
        whole = urljoin(f"{self.url}/", given) if self.url else given
        theirs = urlsplit(whole)[:2] == urlsplit(self.url)[:2] and bool(self.token)
        return whole, {"Authorization": f"Token {self.token}"} if theirs else {}


class Connections:
    """The connections of projects. May be used from several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Connection] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, project: str, connection: Connection) -> None:
        """Remember what `/setup` said; the longest unused is forgotten for a new one."""
        with self._lock:
            self._known[_id(project)] = connection
            self._known.move_to_end(_id(project))
            if len(self._known) > MAX_PROJECTS:
                self._known.popitem(last=False)

    def of(self, project: str) -> Connection:
        """The connection of a project; without an address if it never said one."""
        with self._lock:
            return self._known.get(_id(project), Connection("", ""))


def _id(project: str) -> str:
    """Label Studio writes `12.1700000000`: the number, and when the project was made."""
    return project.partition(".")[0]
