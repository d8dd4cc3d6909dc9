"""`maskrcnn-server pack`"""

import gzip
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.examining import examine
from maskrcnn_handlers.cli.options import BackendName
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.store.downloads import sha256


def pack(
    model: Annotated[str, typer.Argument(help="Folder, archive, address or zoo name.")],
    out: Annotated[Path, typer.Argument(help="Archive to write.")] = Path("model.tar.gz"),
    backend: BackendName = None,
) -> None:
    """Write the files that serving needs to a model.tar.gz for SageMaker, if `doctor` accepts the
    model.

    The same files give the same archive, byte for byte.
    """
    console = Console(soft_wrap=True)
    if not out.name.endswith(".tar.gz"):
        raise InvalidSetting(f"{out}: SageMaker takes a .tar.gz")
    folder, seen = examine(model, backend, console)
    files = sorted(seen.files or (p for p in folder.rglob("*") if p.is_file()))
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.part")
    write(beside, folder, files)
    beside.replace(out)
    for file in files:
        console.print(f"  {escape(str(file.relative_to(folder)))}")
    size = out.stat().st_size / 1e6
    console.print(f"[bold]{escape(str(out))}[/]: {size:.1f} MB, SHA-256 {sha256(out)}")


def write(archive: Path, folder: Path, files: Iterable[Path]) -> None:
    """Write files to a .tar.gz under their paths below the folder, without times and owners."""
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in files:
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            with path.open("rb") as content:
                tar.addfile(member, content)
