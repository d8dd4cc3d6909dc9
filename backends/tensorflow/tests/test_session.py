"""The bundled model on the engine: what a session answers and shows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_network.engine import Output, RunOptions, RunsBatches, ShowsStages, TimesParts
from maskrcnn_network.folder import read_folder
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.graph.rules import Rules, Sampling
from maskrcnn_network.preparation import Floats
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.backend import Image, ModelConfig, Precision
from maskrcnn_server.engine import Setup
from maskrcnn_tensorflow.session import TensorFlowSession

SIZE = (256, 256)
ASK = RunOptions(score_threshold=0.5, limit=100)
RULES = Rules(candidates=200, kept=200, proposals=200, delta_clip=4.0, sampling=Sampling(samples=2))


@dataclass(frozen=True)
class Opener:
    """Opens sessions with the bundled model."""

    network: Network
    variables: Variables

    def __call__(self, precision: Precision = "float32") -> TensorFlowSession:
        setup = Setup(device="cpu", precision=precision, threads=2)
        return TensorFlowSession(self.network, self.variables, setup)


@pytest.fixture(scope="module")
def opener(demo_dir: Path) -> Opener:
    folder = read_folder(ModelConfig(model_dir=demo_dir), "channel first", TensorPackConfig)
    return Opener(Network(folder.architecture, folder.config, RULES), folder.variables())


@pytest.fixture(scope="module")
def session(opener: Opener) -> Iterator[TensorFlowSession]:
    session = opener()
    yield session
    session.close()


@pytest.fixture(scope="module")
def images(photograph: Callable[[str], Image]) -> list[Image]:
    return [photograph(f"demo/golden/shapes-{seed}.png") for seed in (9500000, 9500003)]


def of(image: int, output: Output) -> list[NDArray[Any]]:
    """Boxes, scores, labels and masks of one image."""
    own = output.images == image
    return [output.boxes[own], output.scores[own], output.labels[own], masks(output)[own]]


def masks(output: Output) -> Floats:
    assert output.masks is not None
    return output.masks


def test_images_of_a_batch_are_answered_as_alone(
    session: TensorFlowSession, images: list[Image]
) -> None:
    together = session.run(images, [SIZE, (240, 250)], replace(ASK, proposals=True))
    assert together.proposals is not None
    assert set(together.proposals.images) == {0, 1}
    for i, (image, size) in enumerate(zip(images, [SIZE, (240, 250)], strict=True)):
        # Padded alike.
        alone = session.run([image] * 2, [size, SIZE], ASK)
        assert len(of(0, alone)[0])
        for found, expected in zip(of(i, together), of(0, alone), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-3)


def test_only_what_is_asked_for_is_answered(
    session: TensorFlowSession, images: list[Image]
) -> None:
    few = session.run(images, [SIZE] * 2, replace(ASK, limit=1, masks=False))
    np.testing.assert_array_equal(few.images, [0, 1])
    assert few.masks is None
    assert few.proposals is None
    assert few.boxes.dtype == few.scores.dtype == np.float32
    assert few.labels.dtype == few.images.dtype == np.int64


def test_nothing_may_be_found(session: TensorFlowSession, images: list[Image]) -> None:
    nothing = session.run(images, [SIZE] * 2, replace(ASK, score_threshold=1.0))
    assert [len(part) for part in nothing[:4]] == [0] * 4
    assert masks(nothing).shape == (0, 28, 28)


def test_stages_are_those_of_the_answer(session: TensorFlowSession, images: list[Image]) -> None:
    assert isinstance(session, ShowsStages)
    features, output = session.stages(images[0], SIZE, ASK)
    expected = session.run(images[:1], [SIZE], ASK)
    assert [f.shape[:2] for f in features] == [(s, s) for s in (64, 32, 16, 8, 4)]
    assert output.proposals is not None
    assert output.proposals.class_scores.shape == (len(output.proposals.boxes), 7)
    np.testing.assert_allclose(output.boxes, expected.boxes, atol=1e-4)
    again = session.masks_of(features, output.boxes, output.labels)
    np.testing.assert_allclose(again, masks(expected), atol=1e-4)


def test_parts_are_timed_in_their_order(session: TensorFlowSession, images: list[Image]) -> None:
    assert isinstance(session, TimesParts)
    seconds = session.seconds(images[0], SIZE, ASK)
    assert list(seconds) == ["backbone", "rpn", "heads", "masks"]
    assert min(seconds.values()) > 0


def test_one_image_keeps_a_cpu_busy(session: TensorFlowSession) -> None:
    assert isinstance(session, RunsBatches)
    assert session.batch_pixels == 0
    assert session.max_batch == 4
    assert session.facts["library"].startswith("TensorFlow 2.")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_fewer_digits_find_the_same(
    precision: Precision, opener: Opener, session: TensorFlowSession, images: list[Image]
) -> None:
    """Emulated, where this CPU has no instructions for them."""
    rough = opener(precision)
    features, found = rough.stages(images[0], SIZE, ASK)
    expected = session.run(images[:1], [SIZE], ASK)
    assert {f.dtype for f in features} == {np.dtype(np.float32)}
    assert found.scores.dtype == np.float32
    np.testing.assert_array_equal(np.sort(found.labels), np.sort(expected.labels))
    assert np.abs(np.sort(found.boxes, axis=0) - np.sort(expected.boxes, axis=0)).max() < 3
    assert rough.masks_of(features, found.boxes, found.labels).shape == masks(expected).shape
    rough.close()
    rough.close()
