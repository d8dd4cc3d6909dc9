"""A file server that can misbehave."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Files:
    """Files by path, and how they are served."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.content: dict[str, bytes] = {}
        self.cut_after: int | None = None
        """Bytes after which every connection breaks off."""
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []
        """Method and Range of each."""


@pytest.fixture
def files() -> Iterator[Files]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            asked = self.headers.get("Range")
            served.requests.append((self.command, asked))
            content = served.content.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(asked[6:-1]) if asked and served.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{hash(content)}"')
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if with_body:
                self.wfile.write(content[start:][: served.cut_after])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Files(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()
