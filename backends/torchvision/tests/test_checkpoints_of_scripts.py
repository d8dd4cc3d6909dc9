"""Checkpoints as training scripts save them. A tensor is one number, seen as its whole shape."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskrcnn_server.backend import ModelConfig, Probe
from maskrcnn_torchvision.backend import TorchvisionBackend

CHECKPOINTS = Path(__file__).parent / "checkpoints"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """The state dict of a small network."""
    return dict(torch.load(CHECKPOINTS / "control.pth"))


def probe(folder: Path, name: str, content: object) -> Probe:
    torch.save(content, folder / name)
    found = TorchvisionBackend().probe(ModelConfig(model_dir=folder))
    assert found is not None
    return found


@pytest.mark.parametrize("path", sorted(CHECKPOINTS.iterdir()), ids=lambda path: path.stem)
def test_a_file_that_a_script_wrote_is_read(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    found = TorchvisionBackend().probe(ModelConfig(model_dir=tmp_path))
    assert found is not None
    assert not found.problems


def around(tensors: Tensors, prefix: str) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


NUMBER = torch.tensor(0.5)
STEP = torch.tensor(100)
WAYS: dict[str, Callable[[Tensors], object]] = {
    "best_acc1": lambda t: {"epoch": 3, "state_dict": t, "best_acc1": NUMBER},
    "global_step": lambda t: {"global_step": STEP, "ema": t},
    "global_step of one": lambda t: {"global_step": torch.tensor([7]), "weights": t},
    "number among the weights": lambda t: {**t, "loss": NUMBER, "global_step": STEP},
    "average": lambda t: {**around(t, "module."), "n_averaged": STEP},
    "optimizer": lambda t: {
        "model": t,
        "optimizer": {"state": {0: {"momentum_buffer": NUMBER}}, "param_groups": [{"lr": 0.1}]},
        "lr_scheduler": {"last_epoch": 3},
    },
    "optimizer by names": lambda t: {
        "model": t,
        "optimizer": {"state": {name: {"exp_avg": NUMBER} for name in t}},
    },
    "compiled and parallel": lambda t: around(t, "_orig_mod.module."),
    "parallel and compiled": lambda t: around(t, "module._orig_mod."),
    "Lightning, compiled": lambda t: {"state_dict": around(t, "model._orig_mod.")},
    "Lightning with a loss": lambda t: {
        "state_dict": {**around(t, "detector.model."), "criterion.weight": torch.ones(3)}
    },
    "compiled backbone": lambda t: {
        name.replace("backbone.", "backbone._orig_mod."): tensor for name, tensor in t.items()
    },
    "a key of its own": lambda t: {"my_favourite_net": t},
    "keys in keys": lambda t: {"checkpoint": {"model": {"state_dict": t}}},
    "list": lambda t: [t, {"lr": 0.1}],
    "the same twice": lambda t: {"model": t, "state_dict": dict(t)},
    "half of a second": lambda t: {"model": t, "best": {"rpn.head.cls_logits.bias": NUMBER}},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", ["model.pth", "last.ckpt", "model_best.pth.tar", "model.pt"])
def test_a_state_dict_is_found_where_scripts_put_it(
    way: Callable[[Tensors], object], name: str, tensors: Tensors, tmp_path: Path
) -> None:
    assert not probe(tmp_path, name, way(tensors)).problems


def test_a_state_dict_in_a_pickle_of_arrays_is_found(tensors: Tensors, tmp_path: Path) -> None:
    arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    (tmp_path / "model.pth").write_bytes(pickle.dumps({"net": arrays, "loss": 0.5}))
    found = TorchvisionBackend().probe(ModelConfig(model_dir=tmp_path))
    assert found is not None
    assert not found.problems


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (lambda one, other: {"model": one, "model_ema": other}, "model, model_ema"),
        (lambda one, other: {"state_dict": one, "ema": {"module": other}}, "state_dict, ema"),
        (
            lambda one, other: {"state_dict": around(one, "student.") | around(other, "teacher.")},
            "state_dict.student, state_dict.teacher",
        ),
        (lambda one, other: {**one, "ema": other}, "the top level, ema"),
        (lambda one, other: [one, other], "0, 1"),
    ],
    ids=["ema", "nested ema", "teacher", "beside", "list"],
)
def test_of_two_networks_none_is_guessed(
    content: Callable[[Any, Any], object], keys: str, tensors: Tensors, tmp_path: Path
) -> None:
    other = {name: tensor + 1 for name, tensor in list(tensors.items())[-2:]}
    found = probe(tmp_path, "model.pth", content(tensors, {**tensors, **other}))
    (problem,) = found.problems
    assert f"holds 2 networks, under {keys}: save the state dict of the one" in problem


def test_checkpoints_of_lightning_are_ordered_by_step(tensors: Tensors, tmp_path: Path) -> None:
    for name in ("epoch=9-step=900.ckpt", "epoch=1-step=1000.ckpt"):
        found = probe(tmp_path, name, {"state_dict": tensors})
    assert found.facts["checkpoint"] == "epoch=1-step=1000.ckpt"
    assert found.notes[0] == "epoch=1-step=1000.ckpt is served, not epoch=9-step=900.ckpt"


@pytest.mark.parametrize(
    "content",
    [
        {"state": {0: {"exp_avg": NUMBER}}, "param_groups": [{"lr": 0.1}]},
        {"scale": 65536.0, "_growth_tracker": 0},
        None,
        [],
    ],
    ids=["optimizer", "scaler", "nothing", "list"],
)
@pytest.mark.parametrize("name", ["optimizer.pt", "a.pth", "zzz.ckpt"])
def test_what_else_a_training_saves_is_passed_over(
    name: str, content: object, tensors: Tensors, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / name)
    found = probe(tmp_path, "model.pth", tensors)
    assert not found.problems
    assert found.notes[0] == f"model.pth is served, not {name}"


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt"])
def test_a_second_file_of_the_same_name_is_named_in_a_note(
    name: str, tensors: Tensors, tmp_path: Path
) -> None:
    torch.save({**tensors, "rpn.head.cls_logits.bias": NUMBER}, tmp_path / name)
    found = probe(tmp_path, "model.pth", tensors)
    assert found.notes[0] == f"model.pth is served, not {name}"


MORE_WAYS: dict[str, Callable[[Tensors], object]] = {
    "DeepSpeed": lambda t: {"module": t, "ds_config": {"zero": 1}},
    "an average of a package": lambda t: {
        **around(t, "ema_model."),
        "initted": torch.tensor(True),
        "step": STEP,
    },
    "three prefixes": lambda t: {"state_dict": around(t, "model.module._orig_mod.")},
    "states of random numbers": lambda t: {"model": t, "rng_state": torch.get_rng_state()},
    "scores as NumPy's numbers": lambda t: {"model": t, "best": np.float64(0.5)},
    "six levels": lambda t: {"a": {"b": {"c": {"d": {"e": {"f": t}}}}}},
    "half precision": lambda t: {name: tensor.half() for name, tensor in t.items()},
    "double precision": lambda t: {name: tensor.double() for name, tensor in t.items()},
    "parameters": lambda t: {
        name: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in t.items()
    },
}


@pytest.mark.parametrize("way", MORE_WAYS.values(), ids=MORE_WAYS)
def test_what_packages_write_is_read(
    way: Callable[[Tensors], object], tensors: Tensors, tmp_path: Path
) -> None:
    assert not probe(tmp_path, "model.pth", way(tensors)).problems


@pytest.mark.parametrize(
    "name", ["resnet50-0676ba61.pth", "resnet50_9.pth", "aaa.pt", "zzz.ckpt", "._model.pth"]
)
def test_the_weights_that_training_began_with_are_passed_over(
    name: str, tensors: Tensors, tmp_path: Path
) -> None:
    body = "backbone.body."
    torch.save(
        {n.removeprefix(body): t for n, t in tensors.items() if n.startswith(body)},
        tmp_path / name,
    )
    found = probe(tmp_path, "model.pth", tensors)
    assert not found.problems
    assert found.facts["checkpoint"] == "model.pth"
    assert any(name in note for note in found.notes) != name.startswith(".")
