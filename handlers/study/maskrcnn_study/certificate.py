"""Certificate of the agreement of two engines on the same images."""

import html
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from maskrcnn_annotation_formats.drawing import overlay
from maskrcnn_server.backend import Image, ModelMetadata
from maskrcnn_server.detections import Detections
from maskrcnn_study.page import STYLE, thumbnail
from maskrcnn_study.verification import Finding, first_difference

PACKAGES = (
    "maskrcnn-server",
    "maskrcnn-tensorflow",
    "tensorflow",
    "numpy",
    "opencv-python-headless",
)
LEFT_OUT = ("checkout",)
"""Facts that are of this machine."""


@dataclass(frozen=True)
class Pictured:
    """One image, the original code's detections, and their comparison with ours."""

    name: str
    digest: str
    image: Image
    findings: Sequence[Finding]
    noise: Sequence[Finding]
    """Comparison of the original with itself, run again with other threads."""
    found: Detections
    original: Detections


@dataclass(frozen=True)
class Certificate:
    """A comparison of all images."""

    model: str
    weights: Mapping[str, str]
    """SHA-256 of each file of the weights."""
    ours: ModelMetadata
    original: ModelMetadata
    judged: str
    """What was compared with the original code: an engine, or an address."""
    pictured: Sequence[Pictured]

    @property
    def verdict(self) -> str:
        """The result as a sentence."""
        count = len(self.pictured)
        where = {p.name: f.stage for p in self.pictured if (f := first_difference(p.findings))}
        if not where:
            return f"the same as the original code in {count} of {count} pictures"
        stages = ", ".join(f"{stage} ({name})" for name, stage in where.items())
        differ = f"{len(where)} of {count} pictures"
        return f"differs from the original code in {differ}, first in: {stages}"

    @property
    def is_same(self) -> bool:
        """Whether nothing differs beyond float noise."""
        return all(first_difference(p.findings) is None for p in self.pictured)

    def content(self) -> dict[str, object]:
        """The certificate as JSON values."""
        return {
            "verdict": self.verdict,
            "same": self.is_same,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": self.model,
            "weights": dict(self.weights),
            "judged": self.judged,
            "ours": _facts(self.ours),
            "original": _facts(self.original),
            "packages": _versions(),
            "machine": {"python": sys.version.split()[0], "platform": platform.platform()},
            "pictures": [
                {
                    "name": p.name,
                    "sha256": p.digest,
                    "size": list(p.found.size),
                    "stages": [asdict(f) for f in p.findings],
                    "noise of the original": [asdict(f) for f in p.noise],
                }
                for p in self.pictured
            ],
        }

    def write(self, folder: Path) -> None:
        """Write `certificate.json` and `certificate.html`."""
        folder.mkdir(parents=True, exist_ok=True)
        content = self.content()
        (folder / "certificate.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        (folder / "certificate.html").write_text(self._page(content), "utf-8")

    def _page(self, content: Mapping[str, object]) -> str:
        kind = "same" if self.is_same else "differs"
        parts = [
            "<!doctype html><html lang='en'><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width'>",
            f"<title>{_text(self.model)}</title><style>{STYLE}</style>",
            f"<h1>{_text(self.model)}</h1>",
            f"<p class='{kind}'>{_text(self.judged)}: {_text(self.verdict)}</p>",
        ]
        for picture in self.pictured:
            parts.append(f"<h2>{_text(picture.name)}</h2>")
            for title, found in (("original", picture.original), ("ours", picture.found)):
                parts.append(f"<figure><img alt='{title}' src='{self._drawn(picture, found)}'>")
                parts.append(f"<figcaption>{title}: {len(found)} instances</figcaption></figure>")
            parts.append(_table(picture))
        details = {k: v for k, v in content.items() if k != "pictures"}
        parts.append(f"<h2>Details</h2><pre>{_text(json.dumps(details, indent=1))}</pre></html>")
        return "\n".join(parts)

    def _drawn(self, picture: Pictured, found: Detections) -> str:
        return thumbnail(overlay(picture.image, found, self.original.categories))


def figures(finding: Finding) -> str:
    """Numbers of a finding in one line."""
    return ", ".join(f"{name} {_number(value)}" for name, value in finding.figures.items())


def _table(picture: Pictured) -> str:
    noise = {f.stage: figures(f) for f in picture.noise}
    head = "<tr><th>stage<th><th>figures" + ("<th>original against itself" if noise else "")
    rows = [
        f"<tr><td>{_text(f.stage)}<td class='{'same' if f.same else 'differs'}'>"
        f"{'same' if f.same else 'differs'}<td>{_text(figures(f))}"
        + (f"<td>{_text(noise.get(f.stage, ''))}" if noise else "")
        for f in picture.findings
    ]
    return f"<table>{head}{''.join(rows)}</table>"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _text(text: str) -> str:
    return html.escape(text)


def _facts(metadata: ModelMetadata) -> dict[str, str]:
    return {k: v for k, v in metadata.facts.items() if k not in LEFT_OUT}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
