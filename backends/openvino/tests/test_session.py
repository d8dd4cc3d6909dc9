"""Several images side by side, and how ties are settled."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network.graph.folding import Folded
from maskrcnn_network.graph.symbolic import Symbol
from maskrcnn_network.model import NetworkModel
from maskrcnn_openvino.operations import OpenVinoOperations, op
from maskrcnn_openvino.runtime import openvino
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image, ModelConfig, PredictOptions
from maskrcnn_tensorpack.backend import TensorPackBackend

OPTIONS = PredictOptions(score_threshold=0.05, proposals=True)


def loaded(demo_dir: Path, threads: int, streams: int | None) -> NetworkModel:
    config = ModelConfig(
        model_dir=demo_dir, engine="openvino", threads=threads, streams=streams, device="cpu"
    )
    model = TensorPackBackend().load(config)
    assert isinstance(model, NetworkModel)
    return model


def test_images_side_by_side_get_what_they_get_alone(
    demo_dir: Path, photograph: Callable[[str], Image]
) -> None:
    images = [photograph(f"demo/golden/shapes-{seed}.png") for seed in range(9500000, 9500005)]
    one, two = loaded(demo_dir, 2, 1), loaded(demo_dir, 2, 2)
    for found, image in zip(two.predict(images, OPTIONS), images, strict=True):
        (alone,) = one.predict([image], OPTIONS)
        result = compare(found, alone, box_tolerance=0.01)
        assert len(result.pairs) == len(found) == len(alone) > 0
        assert result.score_differences.max() < 1e-4
        assert found.proposals is not None
        assert alone.proposals is not None
        assert len(found.proposals.boxes) == len(alone.proposals.boxes)


@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (7, 1), (8, 1), (16, 2), (64, 8)])
def test_each_eight_threads_have_a_stream(demo_dir: Path, threads: int, streams: int) -> None:
    model = loaded(demo_dir, threads, None)
    assert model.metadata.facts["threads"] == f"{threads} in {streams} streams"
    assert (model.batch_pixels > 0) == (streams > 1)
    model.close()


@pytest.mark.parametrize("values", [10**9, 20], ids=["different", "many equal"])
def test_of_equal_scores_the_earlier_comes_first(values: int) -> None:
    ops = OpenVinoOperations(Folded({}, {}))
    given = op.parameter([-1, -1], np.float32)
    best, places = ops.top(Symbol(ops, given.output(0)), 100)
    graph = openvino.Model([best.handle, places.handle], [given], "top")
    request = openvino.Core().compile_model(graph, "CPU").create_infer_request()
    scores = np.random.RandomState(0).rand(2, 5000)
    scores = (np.round(scores * values) / values).astype(np.float32)
    # Of those that equal the last one, which are there is not promised: there is room for all.
    scores[:, 100:] = np.minimum(scores[:, 100:], 0.0)
    request.infer({0: scores})
    order = np.argsort(-scores, axis=1, kind="stable")[:, :100]
    np.testing.assert_array_equal(request.get_output_tensor(1).data, order)
