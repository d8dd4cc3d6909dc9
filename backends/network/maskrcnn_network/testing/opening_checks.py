"""What an engine promises about opening and setting up sessions."""

from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import pytest

from maskrcnn_network.testing.networks import small_network
from maskrcnn_network.testing.reference import EVERYTHING, IMAGES, difference, expected, size_of
from maskrcnn_server.backend import Precision
from maskrcnn_server.engine import Engine, Setup
from maskrcnn_server.errors import InvalidSetting

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
NONSENSE = [
    ("abacus", "float32"),
    ("cuda:99", "float32"),
    ("cuda:", "float32"),
    ("", "float32"),
    ("cpu", "float128"),
]
"""Devices that no machine has, and a precision that does not exist."""


class OpeningChecks:
    """Asks the engine what it lacks, and opens sessions."""

    def test_the_engine_computes_in_float32(self, engine: Engine, setup: Setup) -> None:
        lack = engine.lacks(setup.device, "float32")
        assert lack is None, (
            f"the engine cannot compute on {setup.device}, where the suite runs: {lack}; name "
            "another device as `device` of the subclass"
        )

    @pytest.mark.parametrize(("device", "precision"), NONSENSE)
    def test_nonsense_is_lacked_with_a_reason(
        self, engine: Engine, device: str, precision: str
    ) -> None:
        try:
            lack = engine.lacks(device, cast(Precision, precision))
        except Exception as error:
            pytest.fail(
                f"`lacks({device!r}, {precision!r})` raises {type(error).__name__}: {error}; give "
                "the reason as a text"
            )
        assert isinstance(lack, str), (
            f"`lacks({device!r}, {precision!r})` is {lack!r}, but nothing computes so: say why"
        )
        assert lack.strip(), f"`lacks({device!r}, {precision!r})` is empty: say why"

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_a_precision_is_computed_in_or_refused(
        self, engine: Engine, setup: Setup, precision: Precision
    ) -> None:
        asked = replace(setup, precision=precision)
        lack = engine.lacks(setup.device, precision)
        try:
            session = engine.open(*small_network("fpn"), asked)
        except InvalidSetting as error:
            if lack:
                return
            pytest.fail(
                f"`lacks` accepts {precision}, but `open` raises: {error}; let both say the same"
            )
        except Exception as error:
            pytest.fail(
                f"`open` in {precision} raises {type(error).__name__}: {error}; raise "
                "maskrcnn_server.errors.InvalidSetting with what `lacks` says"
            )
        found = session.run([IMAGES[0]], [size_of("fpn", IMAGES[0])], EVERYTHING)
        session.close()
        assert not lack, (
            f"`lacks` refuses {precision}: {lack}; but `open` gave a session: raise "
            "maskrcnn_server.errors.InvalidSetting"
        )
        assert all(np.isfinite(x).all() for x in found[:5] if x is not None), (
            f"an output in {precision} has NaN or infinity: compute scores and boxes in float32"
        )

    @pytest.mark.parametrize(
        "more",
        [{"threads": 1}, {"threads": 3, "streams": None}, {"dedicated": True}],
        ids="-".join,
    )
    def test_every_setup_finds_the_same(
        self, engine: Engine, setup: Setup, more: dict[str, Any]
    ) -> None:
        session = engine.open(*small_network("fpn"), replace(setup, **more))
        found = session.run([IMAGES[0]], [size_of("fpn", IMAGES[0])], EVERYTHING)
        session.close()
        differs = difference(found, expected("fpn", 0))
        assert not differs, f"set up with {more}, {differs}: setups change speed, not results"
