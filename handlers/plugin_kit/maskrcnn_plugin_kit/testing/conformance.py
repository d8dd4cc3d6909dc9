"""Conformance suite of backends: subclass it, define two fixtures, and pytest runs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_plugin_kit.testing.answer_checks import AnswerChecks
from maskrcnn_plugin_kit.testing.conduct_checks import ConductChecks
from maskrcnn_plugin_kit.testing.folder_checks import FolderChecks
from maskrcnn_plugin_kit.testing.option_checks import OptionChecks
from maskrcnn_plugin_kit.testing.plugin_checks import PluginChecks
from maskrcnn_server.backend import Backend, Model, ModelConfig


class BackendConformance(ConductChecks, AnswerChecks, OptionChecks, FolderChecks, PluginChecks):
    """Subclass this in a module of tests with two fixtures, of scope module or wider.

    `backend` is the backend under test; `model_dir` a folder with a small model that it loads.

        @pytest.fixture(scope="module")
        def backend(): return MyBackend()

        @pytest.fixture(scope="module")
        def model_dir(): return Path("a folder that it loads")

        class TestMine(BackendConformance): pass

    What a backend cannot do is declared, and then checked: a model without masks by its metadata's
    `has_masks`, one that batches by the protocol `Batches`, a backend that needs no files by
    `needs_files = False` in the subclass, masks without probabilities by `soft_masks = False`.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, backend: Backend, model_dir: Path) -> Iterator[Model]:
        """The model that the tests of a class share."""
        model = backend.load(ModelConfig(model_dir=model_dir))
        yield model
        model.close()
