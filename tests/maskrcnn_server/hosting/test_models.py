import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrcnn_plugin_kit.testing import FakeBackend
from maskrcnn_server import settings
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import (
    InsufficientMemory,
    InvalidModel,
    ModelExists,
    ModelFailed,
    ModelNotFound,
    ModelRefused,
    NotReady,
    StartupError,
)
from maskrcnn_server.hosting.job import Caller, Job
from maskrcnn_server.hosting.models import ACTIVATIONS, Models
from maskrcnn_server.hosting.models_file import Spec, read_models
from maskrcnn_server.hosting.scheduler import Scheduler

ROOM_FOR_TWO = 2 * ACTIVATIONS + 4096
Make = Callable[..., Models]


def scheduler(folder: Path) -> Scheduler:
    if (folder / "broken").exists():
        raise InvalidModel("nothing in it")
    return Scheduler(FakeBackend().load(ModelConfig(model_dir=folder)), max_waiting=4)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()

    def made(limit: int = ROOM_FOR_TWO, evicts: bool = False) -> Models:
        return Models(scheduler, tmp_path, limit, evicts=evicts)

    return made


def names(models: Models) -> list[str]:
    return [hosted.name for hosted in models.hosted()]


def test_models_are_loaded_found_and_unloaded_by_name(make: Make, tmp_path: Path) -> None:
    models = make()
    models.load("one", str(tmp_path / "a"))
    models.load("two", str(tmp_path / "b"))
    assert models.find("one") is not models.find("two")
    models.unload("one")
    assert names(models) == ["two"]
    for absent in (models.find, models.unload):
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
    models.find("a")
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


def specs(folder: Path, text: str) -> list[Spec]:
    (folder / "models.yaml").write_text(text)
    return read_models(folder / "models.yaml", settings.read().model)


def of_spec(spec: Spec) -> tuple[Scheduler, Path]:
    folder = Path(spec.settings.address)
    return scheduler(folder), folder


def states(models: Models) -> dict[str, str]:
    return {hosted.name: hosted.state()[0] for hosted in models.hosted()}


TWO = "models: {one: {model: a}, two: {model: b, default: true}}"


def test_the_models_of_a_file_are_loaded_and_found_by_name_or_as_the_default(
    make: Make, tmp_path: Path
) -> None:
    models = make()
    models.open(specs(tmp_path, TWO), of_spec)
    assert states(models) == {"one": "ready", "two": "ready"}
    assert models.find(None) is models.find("two")
    assert [models.find(name).name for name in (None, "one")] == ["two", "one"]
    models.check()


def test_a_model_that_fails_to_load_costs_the_others_nothing(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a/broken").touch()
    models = make()
    models.open(specs(tmp_path, TWO), of_spec)
    assert states(models) == {"one": "failed", "two": "ready"}
    models.check()
    with pytest.raises(ModelFailed, match="one could not be loaded: nothing in it"):
        models.find("one").ready()
    (tmp_path / "a/broken").unlink()
    models.load("one", None)
    assert states(models) == {"one": "ready", "two": "ready"}
    models.unload("one")
    models.load("one", None)
    with pytest.raises(ModelExists):
        models.load("one", None)
    with pytest.raises(ModelRefused, match=r"no model three is in the models\.yaml"):
        models.load("three", None)


@pytest.mark.parametrize("fault", [RuntimeError("odd"), SystemExit("odd")], ids=repr)
def test_whatever_a_backend_raises_is_the_models_failure(
    make: Make, tmp_path: Path, fault: BaseException
) -> None:
    def load(spec: Spec) -> tuple[Scheduler, Path]:
        if spec.name == "one":
            raise fault
        return of_spec(spec)

    models = make()
    models.open(specs(tmp_path, TWO), load)
    assert models.hosted()[0].reason == f"{type(fault).__name__}: odd"
    assert states(models)["two"] == "ready"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {one: {model: a, required: true}, two: {model: b}}", "one: nothing in it"),
        ("models: {one: {model: a}}", "one: nothing in it"),
    ],
    ids=["required", "all"],
)
def test_a_model_that_is_needed_and_fails_is_an_error(
    make: Make, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "a/broken").touch()
    with pytest.raises(StartupError, match=said):
        make().open(specs(tmp_path, text), of_spec)


def test_a_model_that_does_not_come_to_an_end_keeps_none_and_may_come_later(
    make: Make, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def load(spec: Spec) -> tuple[Scheduler, Path]:
        if spec.name == "one":
            assert go_on.wait(10)
        return of_spec(spec)

    text = "models: {one: {model: a, load_timeout_s: 0.1}, two: {model: b}}"
    models = make()
    models.open(specs(tmp_path, text), load)
    assert states(models) == {"one": "failed", "two": "ready"}
    assert models.hosted()[0].reason == "it was not loaded within 0.1 s"
    go_on.set()
    deadline = time.monotonic() + 10
    while states(models)["one"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_isolated_models_are_loaded_while_others_are(make: Make, tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def load(spec: Spec) -> tuple[Scheduler, Path]:
        both.wait(10)
        return of_spec(spec)

    text = "models: {one: {model: a}, two: {model: b, isolation: process}}"
    models = make()
    models.open(specs(tmp_path, text), load)
    assert states(models) == {"one": "ready", "two": "ready"}


def test_models_that_are_being_loaded_are_not_ready(make: Make, tmp_path: Path) -> None:
    models, seen = make(), []

    def load(spec: Spec) -> tuple[Scheduler, Path]:
        with pytest.raises(NotReady, match="loading one"):
            models.check()
        with pytest.raises(NotReady, match="model one is loading"):
            models.find("one").ready()
        seen.append(states(models))
        return of_spec(spec)

    models.open(specs(tmp_path, "models: {one: {model: a}}"), load)
    assert seen == [{"one": "loading"}]


def test_models_of_the_file_are_not_evicted(make: Make, tmp_path: Path) -> None:
    models = make(evicts=True)
    models.open(specs(tmp_path, "models: {one: {model: a}}"), of_spec)
    models.load("b", str(tmp_path / "b"))
    models.load("c", str(tmp_path / "c"))
    assert sorted(names(models)) == ["c", "one"]


def test_a_model_that_hangs_makes_the_server_unhealthy(make: Make, tmp_path: Path) -> None:
    models = make()
    models.open(specs(tmp_path, TWO), of_spec)
    hanging = models.find("one").ready()
    hanging.limit_s = -1.0
    hanging._running = {(Job(Caller(1.0), lambda _: None, threading.Condition()),): 0.0}
    with pytest.raises(ModelFailed, match="one: the model has computed"):
        models.check()


def test_a_single_model_has_its_own_name_once_it_is_loaded(tmp_path: Path) -> None:
    models = Models.single()
    for ask in (models.check, lambda: models.find(None), lambda: models.find("colours")):
        with pytest.raises(NotReady, match="the model is loading"):
            ask()
    models.put(scheduler(tmp_path))
    models.check()
    assert models.find(None) is models.find("colours")
    with pytest.raises(ModelNotFound, match="no model other is loaded"):
        models.find("other")
    with pytest.raises(ModelRefused):
        models.load("other", str(tmp_path))
