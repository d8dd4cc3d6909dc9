from pathlib import Path

import pytest

from maskrcnn_network.sources import read
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.errors import InvalidModel, InvalidSetting

LOG = """\x1b[32m[1123 05:19:15 @logger.py:94]\x1b[0m Argv: train.py --config MODE_MASK=True
\x1b[32m[1123 05:19:16 @config.py:303]\x1b[0m Config: ------------------------------------------
{'BACKBONE': {'FREEZE_AFFINE': False, 'NORM': 'FreezeBN', 'RESNET_NUM_BLOCKS': [3, 4, 6, 3]},
 'DATA': {'BASEDIR': '/data', 'CLASS_NAMES': ['BG', "cat's", 'dog'], 'NUM_CATEGORY': 2},
 'MODE_FPN': True,
 'PREPROC': {'MAX_SIZE': %s, 'PIXEL_MEAN': [123.675, 116.28, 103.53],
             'TEST_SHORT_EDGE_SIZE': 600},
 'RPN': {'A_KEY_OF_ANOTHER_VERSION': 7, 'ANCHOR_SIZES': (32, 64, 128, 256, 512)},
 'TEST': {'RESULTS_PER_IM': 50},
 'TRAINER': 'replicated'}
\x1b[32m[1123 05:19:17 @train.py:50]\x1b[0m Warm Up Schedule (steps, value): [(0, 1e-05)]
"""


def log(folder: Path, max_size: str = "1344.0") -> Path:
    (folder / "log.log").write_text(LOG % max_size)
    return folder


@pytest.mark.parametrize("printed", ["1344.0", "np.float64(1344.0)"], ids=["numpy 1", "numpy 2"])
def test_training_log_is_read(tmp_path: Path, printed: str) -> None:
    found = read(ModelConfig(model_dir=log(tmp_path, printed)), TensorPackConfig)
    assert found.network.short_edge == 600
    assert found.network.max_size == 1344
    assert found.network.class_names == ("BG", "cat's", "dog")
    assert found.origin("PREPROC.MAX_SIZE") == "log.log"
    assert "assumed" in found.origin("FPN.PROPOSAL_MODE")


def test_environment_wins_over_the_file_and_the_file_over_the_log(tmp_path: Path) -> None:
    (log(tmp_path) / "config.yaml").write_text(
        "PREPROC: {TEST_SHORT_EDGE_SIZE: 700}\nTEST: {RESULTS_PER_IM: 60}"
    )
    found = read(
        ModelConfig(model_dir=tmp_path, overrides={"TEST.RESULTS_PER_IM": "70"}), TensorPackConfig
    )
    assert (found.network.short_edge, found.network.detections) == (700, 70)
    assert found.origin("PREPROC.MAX_SIZE") == "log.log"
    assert found.origin("PREPROC.TEST_SHORT_EDGE_SIZE") == "config.yaml"
    assert found.origin("TEST.RESULTS_PER_IM") == "the environment"


def test_of_several_trainings_in_a_log_the_last_one_counts(tmp_path: Path) -> None:
    text = LOG % "1344.0"
    (tmp_path / "log.log").write_text(text + text.replace("_SIZE': 600", "_SIZE': 640"))
    assert read(ModelConfig(model_dir=tmp_path), TensorPackConfig).network.short_edge == 640


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("Epoch 1 (global_step 500) finished", "log.log holds no configuration"),
        ("", "log.log holds no configuration"),
        (LOG[: LOG.index("'RPN'")], "log.log breaks off inside its configuration"),
        (LOG[: LOG.index("'DATA'")], "log.log breaks off inside its configuration"),
        (LOG[: LOG.index("{")], "log.log breaks off inside its configuration"),
    ],
    ids=["none", "empty", "cut off", "cut off early", "cut off at once"],
)
def test_log_without_a_configuration_is_named_in_a_note(
    tmp_path: Path, text: str, note: str
) -> None:
    (tmp_path / "log.log").write_text(text)
    found = read(ModelConfig(model_dir=tmp_path), TensorPackConfig)
    assert found.origins == {}
    assert found.notes == [f"{note}: defaults are assumed"]


WRITTEN = LOG % "1344.0"
LOGS = {
    "mpirun": "".join(f"[1,0]<stdout>:{line}" for line in WRITTEN.splitlines(True)).encode(),
    "mpirun, stderr": "".join(f"[1,0]<stderr>: {x}" for x in WRITTEN.splitlines(True)).encode(),
    "several ranks": "".join(
        f"[1,1]<stdout>:Epoch\n[1,0]<stdout>:{line}" for line in WRITTEN.splitlines(True)
    ).encode(),
    "SageMaker": "".join(
        f"[1,mpirank:0,algo-1]<stdout>:{line}" for line in WRITTEN.splitlines(True)
    ).encode(),
    "UTF-16": WRITTEN.encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + WRITTEN.encode("utf-16-be"),
    "UTF-8 with a mark": WRITTEN.encode("utf-8-sig"),
    "Windows": WRITTEN.replace("\n", "\r\n").encode(),
    "another encoding": "é\n".encode("latin-1") + WRITTEN.encode(),
}


@pytest.mark.parametrize("data", LOGS.values(), ids=LOGS)
def test_logs_of_other_machines_are_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "log.log").write_bytes(data)
    found = read(ModelConfig(model_dir=tmp_path), TensorPackConfig)
    assert found.network.short_edge == 600
    assert found.network.class_names == ("BG", "cat's", "dog")


@pytest.mark.parametrize(
    ("old", "new", "short_edge"),
    [
        ("'TEST_SHORT_EDGE_SIZE': 600", "'SHORT_EDGE_SIZE': 256", 256),
        ("'TEST_SHORT_EDGE_SIZE': 600", "'SHORT_EDGE_SIZE': 1, 'TEST_SHORT_EDGE_SIZE': 9", 9),
        ("'TEST_SHORT_EDGE_SIZE': 600", "'TEST_SHORT_EDGE_SIZE': 9, 'SHORT_EDGE_SIZE': 1", 9),
    ],
    ids=["former", "both", "both, turned"],
)
def test_former_keys_are_read(tmp_path: Path, old: str, new: str, short_edge: int) -> None:
    (log(tmp_path) / "log.log").write_text((LOG % "1344.0").replace(old, new))
    found = read(ModelConfig(model_dir=tmp_path), TensorPackConfig)
    assert found.network.short_edge == short_edge
    assert found.origin("PREPROC.TEST_SHORT_EDGE_SIZE") == "log.log"


def test_former_keys_are_read_in_a_file_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("PREPROC: {SHORT_EDGE_SIZE: 256}")
    config = ModelConfig(model_dir=tmp_path)
    assert read(config, TensorPackConfig).network.short_edge == 256
    config = ModelConfig(model_dir=tmp_path, overrides={"PREPROC.SHORT_EDGE_SIZE": "300"})
    assert read(config, TensorPackConfig).network.short_edge == 300


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("RPN: {ANCHOR_SIZES: !!python/tuple [8, 16, 32, 64, 128]}", (8, 16, 32, 64, 128)),
        ("RPN:\nPREPROC: ~", (32, 64, 128, 256, 512)),
    ],
    ids=["tuple", "sections without keys"],
)
def test_files_of_other_programs_are_read(
    text: str, sizes: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    found = read(ModelConfig(model_dir=tmp_path), TensorPackConfig)
    assert found.network.anchor_sizes == sizes


@pytest.mark.parametrize("names", ["[]", "()"])
def test_an_empty_list_of_names_is_no_list(tmp_path: Path, names: str) -> None:
    text = (LOG % "1344.0").replace("['BG', \"cat's\", 'dog']", names)
    (tmp_path / "log.log").write_text(text)
    found = read(ModelConfig(model_dir=tmp_path), TensorPackConfig)
    assert found.network.class_names is None
    assert found.network.short_edge == 600


def test_keys_of_another_version_are_named_in_a_note(tmp_path: Path) -> None:
    found = read(ModelConfig(model_dir=log(tmp_path)), TensorPackConfig)
    assert found.notes == ["log.log: not known here, and passed over: RPN.A_KEY_OF_ANOTHER_VERSION"]


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("preproc: {max_size: 9}", "PREPROC.MAX_SIZE"),
        ("Preproc: {MAX_SIZE: 9}", "PREPROC.MAX_SIZE"),
        ("TEST_SHORT_EDGE_SIZE: 600", "PREPROC.TEST_SHORT_EDGE_SIZE"),
        ("TEST: {SOFT_NMS: true}", "TEST.FRCNN_NMS_THRESH"),
        ("BACKBONE: {RESNET_NUM_BLOCK: [3, 4, 6, 3]}", "BACKBONE.RESNET_NUM_BLOCKS"),
    ],
)
def test_keys_that_are_almost_right_are_refused_with_the_nearest(
    text: str, nearest: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InvalidSetting, match=f"the nearest is {nearest}$"):
        read(ModelConfig(model_dir=tmp_path), TensorPackConfig)


@pytest.mark.parametrize("value", ["__import__('os').system('touch x')", "f(1)", "a.b"])
def test_nothing_in_a_log_is_evaluated(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidModel, match=r"log\.log: its configuration cannot be read"):
        read(ModelConfig(model_dir=log(tmp_path, value)), TensorPackConfig)


def test_long_log_is_read_quickly(tmp_path: Path) -> None:
    """Many beginnings without an end once took time that grew with their square."""
    (tmp_path / "log.log").write_text("Config: -----\n{\n" * 400_000)
    assert read(ModelConfig(model_dir=tmp_path), TensorPackConfig).origins == {}


def test_aliases_that_stand_for_a_billion_values_are_refused(tmp_path: Path) -> None:
    lines = ["A0: &a0 {x: 1}"]
    lines += [f"A{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 60)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(InvalidModel, match=r"config\.yaml: not YAML \(more than 100000 values"):
        read(ModelConfig(model_dir=tmp_path), TensorPackConfig)
