"""Conformance checks of the plugin's module."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

import pytest

from maskrcnn_plugin_kit.testing.fresh import Fresh, fresh
from maskrcnn_server import API_VERSION
from maskrcnn_server.backend import Backend
from maskrcnn_server.hookspecs import PROJECT
from maskrcnn_server.plugins import Plugins

FRAMEWORKS = (
    "cv2 detectron2 jax keras mmdet mxnet onnxruntime openvino paddle scipy sklearn tensorflow "
    "tensorrt tf_keras tflite_runtime torch torchvision transformers ultralytics"
).split()


class PluginChecks:
    """Checks of the plugin in a new interpreter."""

    frameworks: ClassVar[tuple[str, ...]] = ()
    """Further modules that take long to import: those of your framework."""

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, backend: Backend) -> str:
        """Module that registers the backend; by default that of the installed entry point."""
        broken = []
        for entry in entry_points(group=PROJECT):
            plugins = Plugins([entry])
            if backend.name in plugins.backends():
                return entry.value
            broken += [f"; {plugin.name} is broken: {plugin.reason}" for plugin in plugins.broken]
        pytest.fail(
            f"no installed plugin registers a backend {backend.name!r}: name the module that does "
            f"in the entry point group {PROJECT!r}, and install its distribution{''.join(broken)}"
        )

    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls, plugin: str, backend: Backend, model_dir: Path) -> Fresh:
        """Observations of the plugin in a new interpreter."""
        seen = fresh(plugin, backend.name, model_dir)
        assert not seen.broken, f"the plugin {plugin} does not load: {'; '.join(seen.broken)}"
        return seen

    def test_plugin_declares_its_api_version(self, plugin: str, alone: Fresh) -> None:
        assert alone.api_version is not None, (
            "servers must know which interface the plugin was written for: "
            f"put api_version = {API_VERSION!r} into {plugin}"
        )

    def test_plugin_imports_no_framework(self, plugin: str, alone: Fresh) -> None:
        found = sorted({*FRAMEWORKS, *self.frameworks} & set(alone.imported))
        assert not found, (
            f"importing {plugin}, making its backend and `probe` import {', '.join(found)}, and so "
            "every command waits for it: import it inside of `load`"
        )
