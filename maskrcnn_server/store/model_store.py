"""The cache of models, and the way from a model's address to a folder on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from maskrcnn_server.errors import DownloadFailed, InvalidModel, InvalidSetting, redacted
from maskrcnn_server.machine import STORAGE_FAULTS
from maskrcnn_server.store.archives import is_archive, unpack
from maskrcnn_server.store.downloads import (
    HttpSource,
    S3Source,
    fetch,
    s3_client,
    s3_keys,
    sha256,
    silent,
)

if TYPE_CHECKING:
    from maskrcnn_server.backend import ZooModel
    from maskrcnn_server.store.downloads import Progress, Source

CHECKPOINTS = (".ckpt", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".pth.tar")
"""Endings of the names of models that are one file."""
CARD = "source.json"
"""File next to a cached model: its address, and the SHA-256 of what was downloaded."""
MODEL_CARD = "MODEL_CARD.md"
"""File in the folder of a model of the zoo: the same for people, and its published AP."""


@dataclass(frozen=True, kw_only=True)
class ModelStore:
    """Resolves addresses of models, and caches what it downloads or unpacks.

    Every folder in the cache is complete: it is written elsewhere and moved into place, under a
    lock that other processes respect.
    """

    cache: Path
    zoo: Mapping[str, ZooModel] = field(default_factory=dict)
    """Models by name, such as `tensorpack:R50FPN2x`."""
    zoo_url: str | None = None
    """Replaces the addresses that the zoo's models are published at."""
    progress: Progress = silent

    def resolve(self, where: str) -> Path:
        """The folder of the model at `where`.

        That is a folder; an archive (`.tar.gz`, `.zip`); `s3://bucket/` with an archive's key or a
        prefix; an `http(s)://` address of an archive or of a model in one file; or a name of the
        zoo.

        Raises InvalidModel for an archive that is refused, DownloadFailed if something cannot be
        fetched, or is not what it was the first time, InvalidSetting if the cache cannot be
        written.
        """
        try:
            return self._resolved(where)
        except OSError as error:
            path = error.filename
            is_ours = isinstance(path, str) and Path(path).is_relative_to(self.cache)
            if not is_ours and error.errno not in STORAGE_FAULTS:
                raise
            raise InvalidSetting(
                f"MASKRCNN_CACHE={self.cache}: models cannot be kept there: {error.strerror}"
            ) from error

    def _resolved(self, where: str) -> Path:
        if where in self.zoo:
            return self._zoo(self.zoo[where])
        scheme = urlsplit(where).scheme
        if scheme in ("http", "https"):
            return self._cached(where, _file_name(where), HttpSource(where))
        if scheme == "s3":
            return self._s3(where)
        path = Path(where)
        if path.is_file() and is_archive(path.name):
            return self._archive(path)
        if path.is_file():
            from maskrcnn_server.store.signatures import signature

            if (told := signature(path)) is not None:
                raise InvalidModel(f"{path} {told}")
            raise InvalidModel(f"{path}: is a file; name the folder it is in: {path.parent}")
        if ":" in where and not path.exists():
            raise InvalidModel(
                f"{where}: neither a path nor a name of the zoo; that has: {', '.join(self.zoo)}"
            )
        return path

    def entries(self) -> list[tuple[str, Path]]:
        """The models in the cache: where each came from, and its folder."""
        cards = sorted(self.cache.glob(f"*/{CARD}"))
        return [(json.loads(card.read_text())["where"], card.parent / "model") for card in cards]

    def _zoo(self, model: ZooModel) -> Path:
        base = self.zoo_url or model.base_url
        url = f"{base.rstrip('/')}/{model.file}"
        card = partial(_model_card, model, url)
        try:
            return self._cached(model.name, Path(model.file).name, HttpSource(url), card)
        except DownloadFailed as error:
            hint = "MASKRCNN_ZOO_URL names another place to download the zoo from"
            raise DownloadFailed(f"{error.message}; {hint}") from error

    def _s3(self, where: str) -> Path:
        parts = urlsplit(where)
        bucket, key = parts.netloc, parts.path.lstrip("/")
        client = s3_client()
        if is_archive(key) or key.endswith(CHECKPOINTS):
            return self._cached(where, _file_name(where), S3Source(client, bucket, key))
        prefix = key if key.endswith("/") or not key else f"{key}/"
        keys = s3_keys(client, bucket, prefix)
        if not keys:
            raise DownloadFailed(f"{where}: nothing is there")
        sources = {name.removeprefix(prefix): S3Source(client, bucket, name) for name in keys}
        return self._cached_folder(where, sources)

    def _archive(self, path: Path) -> Path:
        state = path.stat()
        identity = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
        with self._place(identity, path.name) as (place, fresh):
            if fresh:
                _commit(place, {"where": str(path)}, lambda folder: unpack(path, folder))
            return place / "model"

    def _cached(
        self, where: str, name: str, source: Source, card: Callable[[str], str] | None = None
    ) -> Path:
        """One file, unpacked if it is an archive; `card` makes its model card of its SHA-256."""
        with self._place(where, name) as (place, fresh):
            known = _card(place)
            if not fresh and _is_current(known, source) and _is_whole(known, place, name):
                return place / "model"
            downloaded = place.with_name(f"{place.name}.download")
            version = source.look().version
            digest = fetch(source, downloaded, self.progress)
            if where in self.zoo and known.get("sha256", digest) != digest:
                downloaded.unlink()
                raise DownloadFailed(
                    f"{where}: SHA-256 is {digest}, but was {known['sha256']} at the first "
                    f"download; if the model was replaced on purpose, remove {place}"
                )

            def fill(folder: Path) -> None:
                if is_archive(name):
                    unpack(downloaded, folder)
                else:
                    folder.mkdir(parents=True)
                    downloaded.replace(folder / name)
                if card is not None:
                    (folder / MODEL_CARD).write_text(card(digest), "utf-8")

            _commit(place, {"where": redacted(where), "sha256": digest, "version": version}, fill)
            downloaded.unlink(missing_ok=True)
            return place / "model"

    def _cached_folder(self, where: str, sources: Mapping[str, Source]) -> Path:
        """Several files, each fetched again only if it changed."""
        with self._place(where, "s3") as (place, fresh):
            versions = {name: source.look().version for name, source in sources.items()}
            version = json.dumps(versions, sort_keys=True)
            if not fresh and _card(place).get("version") == version:
                return place / "model"
            digest = hashlib.sha256(version.encode()).hexdigest()[:16]
            downloads = place.with_name(f"{place.name}.{digest}.downloads")
            for name, source in sources.items():
                target = downloads / _below(name, where)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    fetch(source, target, self.progress)
            _commit(place, {"where": redacted(where), "version": version}, downloads.replace)
            return place / "model"

    def _place(self, identity: str, name: str) -> AbstractContextManager[tuple[Path, bool]]:
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name.partition(".")[0])
        self.cache.mkdir(parents=True, exist_ok=True)
        return _locked(self.cache / f"{stem[:40]}-{digest}")


@contextmanager
def _locked(place: Path) -> Iterator[tuple[Path, bool]]:
    """A place in the cache, and whether it is empty, while no other process or thread has it."""
    with Path(f"{place}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield place, not (place / "model").is_dir()


def _commit(place: Path, card: Mapping[str, str], fill: Callable[[Path], object]) -> None:
    """Fill a folder next to the model's place, and move it there when it is complete."""
    partial_folder = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        fill(partial_folder / "model")
        (partial_folder / CARD).write_text(json.dumps(card, indent=1))
        shutil.rmtree(place, ignore_errors=True)
        partial_folder.replace(place)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _card(place: Path) -> dict[str, str]:
    path = place / CARD
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _model_card(model: ZooModel, url: str, digest: str) -> str:
    masks = "no masks" if model.mask_ap is None else f"mask AP {model.mask_ap:.1f}"
    return (
        f"# {model.name}\n\n{model.description}.\n\n"
        f"* published with box AP {model.box_ap:.1f}, {masks} (COCO val2017, IoU 0.50 to 0.95)\n"
        f"* from {redacted(url)}\n* SHA-256 at the first download: {digest}\n"
    )


def _is_current(card: Mapping[str, str], source: Source) -> bool:
    """Whether what is cached is what is there; yes if nobody can be asked."""
    try:
        return card.get("version") == source.look().version
    except DownloadFailed:
        return True


def _is_whole(card: Mapping[str, str], place: Path, name: str) -> bool:
    """Whether a file that is kept as it came still has its first SHA-256."""
    file = place / "model" / name
    return not file.is_file() or card.get("sha256") == sha256(file)


def _file_name(where: str) -> str:
    return urlsplit(where).path.rpartition("/")[2] or "model"


def _below(name: str, where: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidModel(f"{where}: {name!r} leads out of the folder")
    return name
