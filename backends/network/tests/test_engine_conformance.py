"""The suite passes good engines, and each of its checks catches an engine that breaks it alone."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pytest

from maskrcnn_network.engine import Integers, Intermediate, Output, RunOptions
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.preparation import Floats
from maskrcnn_network.testing import EngineConformance, FakeEngine, suite
from maskrcnn_network.testing.networks import KINDS, small_network
from maskrcnn_network.testing.reference import reference
from maskrcnn_network.testing.session_checks import PARTS
from maskrcnn_server.backend import Image, Precision
from maskrcnn_server.engine import Engine, Setup
from maskrcnn_server.errors import InvalidSetting
from maskrcnn_server.rle import Size


class TestFakeEngine(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Engine:
        return FakeEngine()


Pixels: TypeAlias = tuple[Size, bytes]


@cache
def computed(
    kind: str, images: tuple[Pixels, ...], sizes: tuple[Size, ...], options: RunOptions
) -> tuple[Output, Intermediate | None]:
    """What the reference finds, once for all broken engines; of single images, the stages too."""
    arrays = [np.frombuffer(pixels, np.uint8).reshape(*size, 3) for size, pixels in images]
    if len(images) > 1:
        return reference(kind).run(arrays, sizes, options), None
    shown = reference(kind).stages(arrays[0], sizes[0], options)
    found = shown.output if options.proposals else shown.output._replace(proposals=None)
    return found, shown


@cache
def masks(kind: str, boxes: tuple[tuple[float, ...], ...], labels: tuple[int, ...]) -> Floats:
    """Masks on the feature maps that were seen last, which are of one image for each kind."""
    arrays = np.array(boxes, np.float32), np.array(labels)
    return reference(kind).masks_of(SEEN[kind], *arrays)


SEEN: dict[str, Sequence[Floats]] = {}


class GoodSession:
    """Has every ability, and computes nothing twice."""

    facts: ClassVar[Mapping[str, Any]] = {"library": "none"}
    max_batch = 2
    batch_pixels = 0

    def __init__(self, kind: str, setup: Setup) -> None:
        self.kind = kind
        self.setup = setup

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        pixels = tuple((image.shape[:2], image.tobytes()) for image in images)
        return computed(self.kind, pixels, tuple(sizes), options)[0]

    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        shown = computed(self.kind, ((image.shape[:2], image.tobytes()),), (size,), options)[1]
        assert shown is not None
        SEEN[self.kind] = shown.features
        return shown

    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:  # noqa: ARG002 (see `masks`)
        return masks(self.kind, tuple(map(tuple, boxes.tolist())), tuple(labels.tolist()))

    def seconds(self, image: Image, size: Size, options: RunOptions, /) -> Mapping[str, float]:  # noqa: ARG002
        return dict.fromkeys(PARTS, 0.01)

    def ranges(
        self, image: Image, size: Size, layers: Sequence[str], /
    ) -> Mapping[str, tuple[float, float]]:
        rule = small_network(self.kind).network.config.preparation
        pixels = rule.batch([image], [size], rule.padded_size(size))
        return dict.fromkeys(layers, (float(pixels.min()), float(pixels.max())))

    def close(self) -> None: ...


class GoodEngine:
    """Opens sessions of a class; `lacks` is given what a good one says."""

    name = "good"

    def __init__(self, session: type[GoodSession] = GoodSession) -> None:
        self._session = session

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        return FakeEngine().lacks(device, precision)

    def open(self, network: Network, variables: Variables, setup: Setup, /) -> GoodSession:
        if lack := self.lacks(setup.device, setup.precision):
            raise InvalidSetting(lack)
        (kind,) = (kind for kind in KINDS if small_network(kind).network is network)
        assert variables is small_network(kind).variables
        return self._session(kind, setup)


# What follows is broken.

Broken: TypeAlias = Callable[[GoodSession, Output, Sequence[Size], RunOptions], Output]

ELSEWHERE = [(168, 96)]
"""Size at which `joint` sees one image, in the check against the reference alone."""


def running(change: Broken) -> GoodEngine:
    """An engine whose outputs are changed so."""

    class Changed(GoodSession):
        def run(
            self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /
        ) -> Output:
            return change(self, super().run(images, sizes, options), list(sizes), options)

    return GoodEngine(Changed)


def of_joint(change: Callable[[Output], Output]) -> GoodEngine:
    """An engine that computes one kind of network otherwise."""
    return running(
        lambda session, found, sizes, _: (
            change(found) if session.kind == "joint" and sizes == ELSEWHERE else found
        )
    )


def of_boxes(change: Callable[[Output], Output]) -> GoodEngine:
    """The same, of a kind that few checks look at."""
    return running(
        lambda session, found, _, __: change(found) if session.kind == "boxes" else found
    )


def when(condition: Callable[[RunOptions], bool], change: Callable[[Output], Output]) -> GoodEngine:
    """An engine that answers some requests otherwise."""
    return running(lambda _, found, __, options: change(found) if condition(options) else found)


def in_batches(change: Callable[[Output], Output]) -> GoodEngine:
    return running(lambda _, found, sizes, __: change(found) if len(sizes) > 1 else found)


def at_size(size: Size, change: Callable[[Output], Output]) -> GoodEngine:
    return running(lambda _, found, sizes, __: change(found) if sizes == [size] else found)


def taken(found: Output, places: Any) -> Output:
    """Some of the detections."""
    boxes, scores, labels, images, masks, proposals = found
    masks = None if masks is None else masks[places]
    return Output(boxes[places], scores[places], labels[places], images[places], masks, proposals)


def doubled(found: Output) -> Output:
    return taken(found, [0, *range(len(found.scores))])


def scaled(found: Output, factor: float) -> Output:
    return found._replace(boxes=found.boxes * np.float32(factor))


def with_class_scores(found: Output) -> Output:
    seen = found.proposals
    assert seen is not None
    return found._replace(proposals=seen._replace(class_scores=seen.class_scores[::-1]))


def masks_moved(found: Output) -> Output:
    assert found.masks is not None
    return found._replace(masks=np.roll(found.masks, 1, axis=2))


def failing(error: Exception) -> Callable[[Output], Output]:
    def fail(_: Output) -> Output:
        raise error

    return fail


class Wavers(GoodSession):
    """By a little, from run to run."""

    runs = 0

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        self.runs += 1
        found = super().run(images, sizes, options)
        off = np.float32(1e-6 * self.runs)
        return found if found.masks is None else found._replace(masks=found.masks - off)


class Reuses(GoodSession):
    """Its memory, for the boxes of every output of one image."""

    def __init__(self, kind: str, setup: Setup) -> None:
        super().__init__(kind, setup)
        self._memory = np.zeros((40, 4), np.float32)

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        found = super().run(images, sizes, options)
        if len(images) > 1:
            return found
        self._memory[: len(found.boxes)] = found.boxes
        return found._replace(boxes=self._memory[: len(found.boxes)])


class Scribbles(GoodSession):
    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        for image in images:
            image[:1] = image[:1]
        return super().run(images, sizes, options)


class StaysHome(GoodSession):
    def __init__(self, kind: str, setup: Setup) -> None:
        super().__init__(kind, setup)
        self._home = threading.get_ident()

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        if threading.get_ident() != self._home:
            raise RuntimeError("no context in this thread")
        return super().run(images, sizes, options)


class BatchesNothing(GoodSession):
    batch_pixels = -1


class Counts(GoodSession):
    facts: ClassVar[Mapping[str, Any]] = {"threads": 2}


class ChannelsFirst(GoodSession):
    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        shown = super().stages(image, size, options)
        if self.kind != "cascade":
            return shown
        return shown._replace(features=tuple(np.moveaxis(f, -1, 0) for f in shown.features))


class ShowsOthers(GoodSession):
    def stages(self, image: Image, size: Size, options: RunOptions, /) -> Intermediate:
        shown = super().stages(image, size, options)
        return shown._replace(output=taken(shown.output, slice(1, None)))


class BlindOutside(GoodSession):
    def masks_of(self, features: Sequence[Floats], boxes: Floats, labels: Integers, /) -> Floats:
        return super().masks_of(features, np.maximum(boxes, 0), labels)


class Timeless(GoodSession):
    def seconds(self, image: Image, size: Size, options: RunOptions, /) -> Mapping[str, float]:  # noqa: ARG002
        return dict.fromkeys(PARTS, 0.0)


class Unordered(GoodSession):
    def seconds(self, image: Image, size: Size, options: RunOptions, /) -> Mapping[str, float]:  # noqa: ARG002
        return dict.fromkeys(sorted(PARTS, reverse=True), 0.01)


class RangesOfWeights(GoodSession):
    def ranges(
        self, image: Image, size: Size, layers: Sequence[str], /
    ) -> Mapping[str, tuple[float, float]]:
        return dict.fromkeys(super().ranges(image, size, layers), (-0.1, 0.1))


class Shared(GoodSession):
    """Beside a cascade that was opened last, another network finds less."""

    last: ClassVar[list[str]] = []

    def __init__(self, kind: str, setup: Setup) -> None:
        super().__init__(kind, setup)
        self.last.append(kind)

    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        found = super().run(images, sizes, options)
        disturbed = self.last[-1] == "cascade" != self.kind
        return taken(found, slice(1, None)) if disturbed else found

    def close(self) -> None:
        if self.last:
            self.last.pop()


class ClosesOnce(GoodSession):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("the session is gone")
        self.closed = True


class NeedsThreads(GoodSession):
    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        found = super().run(images, sizes, options)
        return taken(found, slice(1, None)) if self.setup.threads == 1 else found


class Overflows(GoodSession):
    def run(self, images: Sequence[Image], sizes: Sequence[Size], options: RunOptions, /) -> Output:
        found = super().run(images, sizes, options)
        half = self.setup.precision == "float16"
        return found._replace(boxes=found.boxes + np.float32(np.inf)) if half else found


class Lacking(GoodEngine):
    """Says of some devices and precisions something else."""

    def __init__(
        self, says: Mapping[tuple[str, str], Any], session: type[GoodSession] = GoodSession
    ) -> None:
        super().__init__(session)
        self._says = says

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        said: object = self._says.get((device, precision), super().lacks(device, precision))
        if isinstance(said, Exception):
            raise said
        return said if said is None else str(said)


class WarmsUp(GoodEngine):
    warm = False

    def lacks(self, device: str, precision: Precision, /) -> str | None:
        if (device, precision) == ("cpu", "float32") and not self.warm:
            self.warm = True
            return "not ready yet"
        return super().lacks(device, precision)


class OpensAnything(GoodEngine):
    def open(self, network: Network, variables: Variables, setup: Setup, /) -> GoodSession:
        return super().open(network, variables, replace(setup, precision="float32"))


class FailsToOpen(GoodEngine):
    def open(self, network: Network, variables: Variables, setup: Setup, /) -> GoodSession:
        return super().open(network, variables, replace(setup, precision=HINTS[setup.precision]))


class RefusesMore(Lacking):
    def __init__(self) -> None:
        super().__init__({("cpu", "float16"): None})

    def open(self, network: Network, variables: Variables, setup: Setup, /) -> GoodSession:
        if setup.precision == "float16":
            raise InvalidSetting("not in half precision")
        return super().open(network, variables, setup)


HINTS: dict[str, Precision] = {"float32": "float32"}


@dataclass(frozen=True)
class Case:
    """A broken engine, the check that must catch it, and what its author must be told."""

    check: str
    broken: GoodEngine
    advice: str


REFERENCE = "every network finds what the reference finds"
BATCH = "a batch finds what each image finds alone"
FORM = "outputs have the promised form"
SHAPE = "every shape of image is computed"
NONSENSE = "nonsense is lacked with a reason"
PRECISION = "a precision is computed in or refused"
CASES = [
    Case(REFERENCE, of_joint(lambda f: taken(f, slice(1, None))), "1 of 20 detections are missing"),
    Case(REFERENCE, of_joint(doubled), "1 of 21 detections are too many"),
    Case(REFERENCE, of_joint(lambda f: scaled(f, 1.001)), "'joint', which NumPy computes"),
    Case(
        REFERENCE,
        of_joint(lambda f: f._replace(scores=f.scores - 0.001)),
        "score of a detection is off by",
    ),
    Case(REFERENCE, of_joint(lambda f: f._replace(labels=f.labels % 4 + 1)), "are missing"),
    Case(REFERENCE, of_joint(masks_moved), "mask of a detection is off"),
    Case(REFERENCE, of_joint(with_class_scores), "class score of a proposal is off"),
    Case(BATCH, in_batches(lambda f: f._replace(images=f.images * 0)), "the index of the image"),
    Case(BATCH, in_batches(lambda f: scaled(f, 1.01)), "let no image see another"),
    Case(FORM, of_boxes(lambda f: f._replace(labels=f.labels.astype(np.int32))), "int64"),
    Case(FORM, of_boxes(lambda f: taken(f, slice(None, None, -1))), "the best comes first"),
    Case(SHAPE, at_size((96, 96), failing(ZeroDivisionError("by zero"))), "every size is allowed"),
    Case(SHAPE, at_size((96, 189), lambda f: scaled(f, 9)), "clip to the sizes without padding"),
    Case(SHAPE, at_size((96, 96), lambda f: scaled(f, float("nan"))), "NaN or infinity"),
    Case(
        "score threshold is inclusive",
        running(lambda _, f, __, options: taken(f, f.scores > np.float32(options.score_threshold))),
        "keep score >= threshold",
    ),
    Case(
        "limit keeps the best",
        when(lambda options: options.limit == 3, lambda f: taken(f, slice(1, None))),
        "keep the first",
    ),
    Case(
        "masks come only when asked for",
        when(
            lambda options: not options.masks,
            lambda f: f._replace(masks=np.zeros((20, 28, 28), "float32")),
        ),
        "save their time",
    ),
    Case(
        "proposals come only when asked for",
        running(lambda _, f, __, ___: f._replace(proposals=None)),
        "there are no proposals",
    ),
    Case(
        "nothing found is an output",
        when(
            lambda options: options.score_threshold == 1, failing(ValueError("cannot be stacked"))
        ),
        "empty arrays",
    ),
    Case("images are left as they are", GoodEngine(Scribbles), "change a copy"),
    Case("the same image gets the same output", GoodEngine(Wavers), "keep nothing of a run"),
    Case("an output outlives the next run", GoodEngine(Reuses), "copy it out"),
    Case("any thread may run it", GoodEngine(StaysHome), "bind nothing to a thread"),
    Case("what batches says how many", GoodEngine(BatchesNothing), "0 or more"),
    Case("facts are texts", GoodEngine(Counts), "texts for operators"),
    Case("stages are those of a run", GoodEngine(ChannelsFirst), "(height, width, channels)"),
    Case("stages are those of a run", GoodEngine(ShowsOthers), "compute both alike"),
    Case("masks of any boxes are the references", GoodEngine(BlindOutside), "any boxes may be"),
    Case("seconds of the parts are positive", GoodEngine(Timeless), "each takes some time"),
    Case("seconds of the parts are positive", GoodEngine(Unordered), "in this order"),
    Case("ranges are those of the inputs", GoodEngine(RangesOfWeights), "before weights"),
    Case(
        "sessions side by side do not disturb each other", GoodEngine(Shared), "that sessions share"
    ),
    Case("close may be called twice", GoodEngine(ClosesOnce), "let it do nothing"),
    Case("the engine computes in float32", WarmsUp(), "name another device"),
    Case(NONSENSE, Lacking({("cuda:99", "float32"): None}), "say why"),
    Case(NONSENSE, Lacking({("abacus", "float32"): ""}), "say why"),
    Case(NONSENSE, Lacking({("cpu", "float128"): KeyError("float128")}), "the reason as a text"),
    Case(PRECISION, OpensAnything(), "`open` gave a session"),
    Case(PRECISION, FailsToOpen(), "with what `lacks` says"),
    Case(PRECISION, RefusesMore(), "let both say the same"),
    Case(PRECISION, Lacking({("cpu", "float16"): None}, Overflows), "compute scores and boxes in"),
    Case("every setup finds the same", GoodEngine(NeedsThreads), "not results"),
]


class Run:
    """A plugin of pytest that gives the suite an engine, and hears of each check that fails."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.checks: set[str] = set()
        self.failed: dict[str, str] = {}

    @pytest.fixture(scope="session")
    def engine(self) -> Engine:
        return self._engine

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::test_")[2].partition("[")[0].replace("_", " ")
        self.checks.add(name)
        if report.failed:
            self.failed[name] = str(report.longrepr)


def checked(engine: Engine) -> Run:
    """The whole suite, run in this process and in silence."""
    run = Run(engine)
    # Its ten collections of garbage would take most of the time.
    left_out = ("terminal", "cacheprovider", "unraisableexception")
    quiet = [word for name in left_out for word in ("-p", f"no:{name}")]
    pytest.main([*quiet, "--config-file", "/dev/null", str(Path(suite.__file__))], [run])
    assert len(run.checks) > 20
    return run


def test_a_good_engine_with_every_ability_passes() -> None:
    assert not checked(GoodEngine()).failed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.check)
def test_a_broken_engine_is_caught_by_one_check_that_says_what_to_do(case: Case) -> None:
    failed = checked(case.broken).failed
    assert list(failed) == [case.check]
    assert case.advice in failed[case.check]


def test_every_check_catches_something() -> None:
    checks = {name for name in dir(EngineConformance) if name.startswith("test_")}
    assert checks == {f"test_{case.check.replace(' ', '_')}" for case in CASES}
