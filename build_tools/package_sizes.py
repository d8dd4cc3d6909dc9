#!/usr/bin/env python3
"""Print what the installed Python packages weigh, largest first. Runs inside an image.

`nvidia` is a folder of packages. A package counts with the libraries that auditwheel puts beside
it (NAME.libs) and with its bytecode, which is also summed up by itself.
"""

import sys
import sysconfig
from collections import Counter
from pathlib import Path

SMALL_MB = 5


def main() -> None:
    """Print the table."""
    sizes: Counter[str] = Counter()
    bytecode = 0
    site = Path(sysconfig.get_path("purelib"))
    for path in site.rglob("*"):
        if path.is_file() and not path.is_symlink():
            size = path.stat().st_size
            sizes[package(*path.relative_to(site).parts)] += size
            bytecode += size if path.suffix == ".pyc" else 0
    large = [(name, size) for name, size in sizes.most_common() if size >= SMALL_MB * 1e6]
    others = sum(sizes.values()) - sum(size for _, size in large)
    rows = [
        *large,
        (f"{len(sizes) - len(large)} others", others),
        ("all packages", sum(sizes.values())),
        ("of which bytecode", bytecode),
    ]
    sys.stdout.write("| package | MB |\n| --- | ---: |\n")
    sys.stdout.writelines(f"| {name} | {size / 1e6:.0f} |\n" for name, size in rows)


def package(name: str, *below: str) -> str:
    """The package that a path in site-packages, given by its parts, belongs to."""
    if name == "nvidia" and len(below) > 1:
        return f"nvidia {below[0]}"
    if name.endswith((".dist-info", ".py")):
        return "modules and metadata"
    return name.removesuffix(".libs")


main()
