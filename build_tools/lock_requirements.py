#!/usr/bin/env python3
"""Write the files of exact versions, with hashes, that images are built from.

    lock_requirements.py [--upgrade] [KIND...]

Writes build_tools/requirements/KIND.txt for each kind of image: openvino, tensorflow,
tensorflow-gpu and torch-gpu: everything that the distributions in the image require, for Python
3.11 and newer on Linux. Versions that are there are kept where they still fit; `--upgrade` takes
the newest.
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
KINDS = {
    "openvino": "openvino",
    "tensorflow": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "torch-gpu": "torch",
}
"""The engine of each kind of image."""
HANDLERS = ("annotation_formats", "playground", "workers")
"""Folders of handlers/ with a distribution that is in every image."""
EXTRAS = ("s3", "fast")
"""Extras of the core that are in every image."""
NOT_WITH = {
    "openvino": ("tensorflow", "torch", "tf_object_detection"),
    "tensorflow": ("openvino", "torch", "onnx"),
    "torch": ("openvino", "tensorflow", "onnx", "tf_object_detection"),
}
"""By engine, the folders of backends/ that no image with it has."""
BUILDS = "setuptools>=77"
"""The requirement that makes wheels of our distributions inside the image."""
TENSORFLOW = {
    # The same TensorFlow without CUDA's kernels: half the size. There is none for ARM, and no need.
    "tensorflow": ("tensorflow-cpu{}; platform_machine == 'x86_64'", "tensorflow{}; {elsewhere}"),
    "tensorflow-gpu": (
        "tensorflow[and-cuda]{}; platform_machine == 'x86_64'",
        "tensorflow{}; {elsewhere}",
    ),
}
TORCH = "torch>=2.10,<2.11"
"""The last PyTorch that the index has with CUDA 12, which NVIDIA's driver 525 and newer can run:
docs/images.md."""
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
    """The requirements of our distributions, with the TensorFlow of this kind of image."""
    found = {BUILDS}
    core = _setup(ROOT)
    for extra in EXTRAS:
        found |= set(core["options.extras_require"][extra].splitlines())
    folders = [ROOT, *(ROOT / "handlers" / name for name in HANDLERS)]
    folders += [
        path.parent
        for path in ROOT.glob("backends/*/setup.cfg")
        if path.parent.name not in NOT_WITH[KINDS[kind]]
    ]
    for folder in folders:
        required = _setup(folder)["options"]["install_requires"]
        found |= set(required.splitlines())
        if "maskrcnn-network[opencv]" in required:
            network = _setup(ROOT / "backends/network")
            found |= set(network["options.extras_require"]["opencv"].splitlines())
    lines = []
    for line in sorted(line for line in found if line and not line.startswith(OWN)):
        if line.startswith("tensorflow"):
            version = line.removeprefix("tensorflow")
            lines += [form.format(version, elsewhere=ELSEWHERE) for form in TENSORFLOW[kind]]
        elif line.startswith("torch"):
            lines += [line, TORCH]
        else:
            lines.append(line)
    return lines


def _setup(folder: Path) -> configparser.ConfigParser:
    """The setup.cfg of a distribution."""
    config = configparser.ConfigParser()
    config.read(folder / "setup.cfg")
    return config


if __name__ == "__main__":
    main()
