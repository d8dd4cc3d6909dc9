from pathlib import Path

import numpy as np
import pytest

from maskrcnn_network.checkpoints.rows import channels_last, observed


def test_trained_weights_show_their_order(demo_dir: Path) -> None:
    kernel = np.load(demo_dir / "model-6770.npz")["fastrcnn/fc6/W"].astype(np.float32)
    assert observed(kernel) == "channel first"
    assert observed(channels_last(kernel)) == "channel last"


@pytest.mark.parametrize("channels", [8, 64, 256])
def test_untrained_weights_show_none(channels: int) -> None:
    kernel = np.random.RandomState(0).randn(channels * 49, 128).astype(np.float32)
    assert observed(kernel) is None


def test_constant_weights_show_none() -> None:
    assert observed(np.zeros((98, 4), np.float32)) is None


def test_rows_are_put_in_order() -> None:
    """Row number (c * 7 + y) * 7 + x goes to (y * 7 + x) * channels + c."""
    kernel = np.arange(2 * 49, dtype=np.float32)[:, None]
    moved = channels_last(kernel)[:, 0]
    c, y, x = 1, 3, 5
    assert moved[(y * 7 + x) * 2 + c] == (c * 7 + y) * 7 + x
