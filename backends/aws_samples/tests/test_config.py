from pathlib import Path

import pytest

from maskrcnn_aws_samples.backend import AwsSamplesBackend
from maskrcnn_aws_samples.config import AwsSamplesConfig
from maskrcnn_network.sources import read
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.keys import check_keys

FRAMEWORK = """
TRAINER: replicated
BACKBONE: {TF_PAD_MODE: false, STRIDE_1X1: false, FREEZE_AT: 2}
TRAIN: {WARMUP_STEPS: 1000, LR_EPOCH_SCHEDULE: [[8, 0.1]], SEED: 1234, RPN_NCHW: false}
PREPROC: {MAX_SIZE: 1333, PREDEFINED_PADDING: false, PADDING_SHAPES: [[800, 1000]]}
RPN: {MIN_SIZE: 0.1, TEST_PER_LEVEL_PRE_NMS_TOPK: 2000, TEST_PER_LEVEL_POST_NMS_TOPK: 900,
      TEST_IMAGE_POST_NMS_TOPK: 800, UNQUANTIZED_ANCHOR: true}
FPN: {BOXCLASS_HEAD_FUNC: boxclass_2fc_head, BOXCLASS_FC_HEAD_DIM: 1024, PROPOSAL_MODE: Level}
TEST: {BOX_TARGET: 0.377, BATCH_SIZE_PER_GPU: 1}
"""
"""Keys of the framework's own MaskRCNN/config.py, with its defaults but for two."""


def test_frameworks_own_keys_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FRAMEWORK)
    network = read(ModelConfig(model_dir=tmp_path), AwsSamplesConfig).network
    assert (network.level_candidates, network.level_proposals, network.proposals) == (
        2000,
        900,
        800,
    )
    assert network.min_size == 0.1


@pytest.mark.parametrize("name", ["version", "home"])
def test_variables_that_images_set_are_no_options(name: str, shapes_dir: Path) -> None:
    config = ModelConfig(model_dir=shapes_dir, options={name: "1"})
    check_keys(AwsSamplesBackend(), config)
    found = AwsSamplesBackend().probe(config)
    assert found is not None
    assert "AWS_SAMPLES" not in str(found.problems)
