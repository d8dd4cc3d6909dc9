"""The playground: a page to try the model by. Its files and samples as replies."""

from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from maskrcnn_handlers.answer.reply import Reply, json_reply
from maskrcnn_playground import tracks
from maskrcnn_server.backend import Demo
from maskrcnn_server.formats import Format, NeedsPixels
from maskrcnn_server.settings import Settings

PAGE = "index.html"
FILE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SAMPLE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""Content types of sample images, by file name ending: those that browsers show."""
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "media-src blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Playground:
    """Static files by name, sample pictures by number, and what the page has to know.

    Files are read once; samples are those of the plugins' demos, read when they are asked for.
    """

    def __init__(
        self, formats: Mapping[str, Format], demos: Sequence[Demo], settings: Settings
    ) -> None:
        self._formats = formats
        self._settings = settings
        self._files = {
            file.name: Reply(200, file.read_bytes(), FILE_TYPES[Path(file.name).suffix], HEADERS)
            for file in resources.files(__package__).joinpath("static").iterdir()
            if Path(file.name).suffix in FILE_TYPES
        }
        self._page = self._files.pop(PAGE)
        self._photographs = {
            file.name: Reply(200, file.read_bytes(), SAMPLE_TYPES[".jpg"], HEADERS)
            for file in resources.files(__package__).joinpath("photographs").iterdir()
            if Path(file.name).suffix == ".jpg"
        }
        shown = (path for demo in demos for path in demo.images if path.suffix in SAMPLE_TYPES)
        self._samples = {str(number): path for number, path in enumerate(shown)}

    def page(self) -> Reply:
        """The page itself."""
        return self._page

    def file(self, name: str) -> Reply | None:
        """What the page is made of; None if there is no such file."""
        return self._files.get(name)

    def sample(self, number: str) -> Reply | None:
        """A picture to try, from number 0; None if there are not so many."""
        path = self._samples.get(number)
        if path is None:
            return None
        return Reply(200, path.read_bytes(), SAMPLE_TYPES[path.suffix], HEADERS)

    def photograph(self, name: str) -> Reply | None:
        """A photograph of what COCO's models know; None if there is no such file."""
        return self._photographs.get(name)

    def server(self) -> Reply:
        """What the page has to know of this server."""
        settings = self._settings
        return json_reply(
            200,
            {
                "format": settings.model.format,
                "formats": {name: form.media_type for name, form in self._formats.items()},
                "drawn": [n for n, form in self._formats.items() if isinstance(form, NeedsPixels)],
                "mask_threshold": settings.model.mask_threshold,
                "max_payload_mb": settings.max_payload_mb,
                "photographs": sorted(self._photographs),
                "tracks": tracks.are_installed(),
                "animations": find_spec("maskrcnn_video") is not None,
                "streams": find_spec("maskrcnn_streaming") is not None,
                "samples": [path.name for path in self._samples.values()],
            },
            HEADERS,
        )
