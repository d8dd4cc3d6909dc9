#!/usr/bin/env python3
"""Make the badges of README.md from what the project says of itself.

make_badges.py [--out FOLDER]
"""

import argparse
import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]
BADGES = ROOT / "docs/badges"
LETTER, MARGIN, HEIGHT = 6.6, 12, 20
"""Average width of a letter, room around a text, and height of a badge, in pixels."""
BADGE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" \
aria-label="{name}: {value}">
  <rect width="{width}" height="{height}" rx="4" fill="#2456d6"/>
  <path d="M4 0h{inner}v{height}H4a4 4 0 0 1-4-4V4a4 4 0 0 1 4-4z" fill="#404756"/>
  <g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
    <text x="{left}" y="14">{name}</text>
    <text x="{right}" y="14">{value}</text>
  </g>
</svg>
"""


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=BADGES, help="Where to write (default: docs).")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, value in facts().items():
        (out / f"{name}.svg").write_text(badge(name, value))


def facts() -> dict[str, str]:
    """Texts of the badges by their names. Raises KeyError if the project does not say one."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found = {
        "version": setup["metadata"]["version"],
        "python": setup["options"]["python_requires"].replace(">=", "") + "+",
        "licence": setup["metadata"]["license"],
    }
    if setup.getboolean("mypy", "strict"):
        found["types"] = "mypy strict"
    return found


def badge(name: str, value: str) -> str:
    """A badge as SVG."""
    first, second = (round(MARGIN + LETTER * len(text)) for text in (name, value))
    return BADGE.format(
        name=name,
        value=value,
        width=first + second,
        height=HEIGHT,
        inner=first - 4,
        left=first / 2,
        right=first + second / 2,
    )


if __name__ == "__main__":
    main()
