import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.engine import Engine
from maskrcnn_server.errors import (
    InsufficientMemory,
    InvalidModel,
    ModelExists,
    ModelNotFound,
    ModelRefused,
)
from maskrcnn_server.models import ACTIVATIONS, Models
from maskrcnn_server.testing import FakeBackend

ROOM_FOR_TWO = 2 * ACTIVATIONS + 4096
Make = Callable[..., Models]


def engine(folder: Path) -> Engine:
    if (folder / "broken").exists():
        raise InvalidModel("nothing in it")
    return Engine(FakeBackend().load(ModelConfig(model_dir=folder)), max_waiting=4)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()

    def made(limit: int = ROOM_FOR_TWO, evicts: bool = False) -> Models:
        return Models(engine, tmp_path, limit, evicts=evicts)

    return made


def names(models: Models) -> list[str]:
    return [hosted.name for hosted in models.hosted()]


def test_models_are_loaded_found_and_unloaded_by_name(make: Make, tmp_path: Path) -> None:
    models = make()
    models.load("one", str(tmp_path / "a"))
    models.load("two", str(tmp_path / "b"))
    assert models.engine("one") is not models.engine("two")
    models.unload("one")
    assert names(models) == ["two"]
    for absent in (models.engine, models.unload):
        with pytest.raises(ModelNotFound, match="no model one is loaded"):
            absent("one")


def test_a_name_that_is_taken_is_refused(make: Make, tmp_path: Path) -> None:
    models = make()
    models.load("one", str(tmp_path / "a"))
    with pytest.raises(ModelExists):
        models.load("one", str(tmp_path / "b"))


def test_a_model_without_room_is_refused_and_the_others_stay(make: Make, tmp_path: Path) -> None:
    models = make()
    for name in ("a", "b"):
        models.load(name, str(tmp_path / name))
    with pytest.raises(InsufficientMemory, match="needs about 256 MB, and 0 of 512 MB are free"):
        models.load("c", str(tmp_path / "c"))
    assert names(models) == ["a", "b"]
    models.unload("a")
    models.load("c", str(tmp_path / "c"))


def test_where_it_may_the_least_recently_used_makes_room(make: Make, tmp_path: Path) -> None:
    models = make(evicts=True)
    for name in ("a", "b"):
        models.load(name, str(tmp_path / name))
    models.engine("a")
    models.load("c", str(tmp_path / "c"))
    assert names(models) == ["a", "c"]


def test_a_model_that_never_fits_evicts_nothing(make: Make, tmp_path: Path) -> None:
    models = make(evicts=True)
    models.load("a", str(tmp_path / "a"))
    (tmp_path / "b/weights").write_bytes(bytes(200 << 20))
    with pytest.raises(InsufficientMemory):
        models.load("b", str(tmp_path / "b"))
    assert names(models) == ["a"]


@pytest.mark.parametrize("url", ["/etc", "{root}/../elsewhere", "{root}/link"])
def test_what_is_outside_the_models_folder_is_refused(url: str, make: Make, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(ModelRefused, match="from below"):
        make().load("one", url.format(root=tmp_path))


def test_a_model_that_cannot_be_served_is_refused_with_the_reason(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "a/broken").touch()
    models = make()
    with pytest.raises(ModelRefused, match="nothing in it"):
        models.load("one", str(tmp_path / "a"))
    with pytest.raises(ModelRefused, match="no such folder"):
        models.load("one", str(tmp_path / "nowhere"))
    assert names(models) == []


def test_of_many_who_load_one_name_one_succeeds(make: Make, tmp_path: Path) -> None:
    models = make()
    outcomes: list[str] = []

    def load() -> None:
        try:
            models.load("one", str(tmp_path / "a"))
            outcomes.append("loaded")
        except ModelExists:
            outcomes.append("refused")

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["loaded"] + 7 * ["refused"]


def test_closing_closes_every_model(make: Make, tmp_path: Path) -> None:
    models = make()
    for name in ("a", "b"):
        models.load(name, str(tmp_path / name))
    assert models.close(timeout_s=1)
