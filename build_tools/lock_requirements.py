#!/usr/bin/env python3
"""Write the files of exact versions, with hashes, that images are built from.

    lock_requirements.py [--upgrade] [KIND...]

Writes build_tools/requirements/KIND.txt for each kind of image: openvino, tensorflow, and
tensorflow-gpu: what the distributions in setup.cfg, with the extra `s3`, and
backends/*/setup.cfg but for other engines' require, and what that requires, for Python 3.11 and
newer on Linux. Versions that are there are kept where they still fit; `--upgrade` takes the newest.
Needs uv (`pip install uv`), or UV=COMMAND.
"""

import argparse
import configparser
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build_tools/requirements"
OWN = "maskrcnn-"
ENGINES = ("openvino", "tensorflow", "torch")
KINDS = {"openvino": "openvino", "tensorflow": "tensorflow", "tensorflow-gpu": "tensorflow"}
"""The engine of each kind of image."""
BUILDS = "setuptools>=77"
"""What makes wheels of ours inside the image."""
TENSORFLOW = {
    # The same TensorFlow without CUDA's kernels: half the size. There is none for ARM, and no need.
    "tensorflow": ("tensorflow-cpu{}; platform_machine == 'x86_64'", "tensorflow{}; {elsewhere}"),
    "tensorflow-gpu": (
        "tensorflow[and-cuda]{}; platform_machine == 'x86_64'",
        "tensorflow{}; {elsewhere}",
    ),
}
ELSEWHERE = "platform_machine != 'x86_64'"


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    given = parser.parse_args()
    upgrade = ["--upgrade"] if given.upgrade else []
    OUT.mkdir(exist_ok=True)
    uv = shlex.split(os.environ.get("UV", "uv"))
    for kind in given.kinds or KINDS:
        command = [
            *uv,
            *"--no-config pip compile - --quiet --universal --python-version 3.11".split(),
            *"--generate-hashes --no-header --no-annotate".split(),
            *upgrade,
            "--output-file",
            str(OUT / f"{kind}.txt"),
        ]
        subprocess.run(command, input="\n".join(direct(kind)), text=True, check=True)
        sys.stdout.write(f"{OUT / kind}.txt\n")


def direct(kind: str) -> list[str]:
    """What our distributions require themselves, with the TensorFlow of this kind of image."""
    found = {BUILDS}
    others = set(ENGINES) - {KINDS[kind]}
    own = [path for path in ROOT.glob("backends/*/setup.cfg") if path.parent.name not in others]
    if KINDS[kind] != "openvino":
        own = [path for path in own if path.parent.name != "onnx"]
    for path in [ROOT / "setup.cfg", *own]:
        config = configparser.ConfigParser()
        config.read(path)
        text = config["options"]["install_requires"]
        if path.parent == ROOT:
            text += config["options.extras_require"]["s3"]
        found |= {line for line in text.splitlines() if line}
        if "maskrcnn-network[opencv]" in text:
            network = configparser.ConfigParser()
            network.read(ROOT / "backends/network/setup.cfg")
            found |= set(network["options.extras_require"]["opencv"].split())
    lines = []
    for line in sorted(line for line in found if not line.startswith(OWN)):
        if line.startswith("tensorflow"):
            version = line.removeprefix("tensorflow")
            lines += [form.format(version, elsewhere=ELSEWHERE) for form in TENSORFLOW[kind]]
        else:
            lines.append(line)
    return lines


if __name__ == "__main__":
    main()
