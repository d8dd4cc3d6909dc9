"""What every engine promises, as tests: subclass, define one fixture, and pytest runs them."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import ClassVar

import pytest

from maskrcnn_network.engine import Session
from maskrcnn_network.testing.networks import small_network
from maskrcnn_network.testing.opening_checks import OpeningChecks
from maskrcnn_network.testing.output_checks import OutputChecks
from maskrcnn_network.testing.session_checks import SessionChecks
from maskrcnn_server.engine import Engine, Setup


class EngineConformance(OutputChecks, SessionChecks, OpeningChecks):
    """Subclass this in a module of tests with a fixture, of scope class or wider.

    `engine` is the engine under test:

        @pytest.fixture(scope="module")
        def engine(): return MyEngine()

        class TestMine(EngineConformance): pass

    It is compared with NumPy on small networks of every kind (`maskrcnn_network.testing.networks`).
    Abilities of a session besides `run` are recognised by its methods, and checked too.
    """

    device: ClassVar[str] = "cpu"
    """Device on which the engine computes: `cpu`, or `cuda:N`."""

    @pytest.fixture(scope="class")
    @classmethod
    def setup(cls) -> Setup:
        """How the sessions of a class compute."""
        return Setup(device=cls.device, threads=2, streams=2)

    @pytest.fixture(scope="class")
    @classmethod
    def sessions(cls, engine: Engine, setup: Setup) -> Iterator[Callable[[str], Session]]:
        """Opens a session with the small network of a name, shared by the tests of a class."""
        opened: list[Session] = []

        @cache
        def session(kind: str) -> Session:
            opened.append(engine.open(*small_network(kind), setup))
            return opened[-1]

        yield session
        for each in opened:
            each.close()
