"""The backend of the TensorFlow Object Detection API: exported graphs, computed by TensorFlow."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_network.checkpoints.kinds import described
from maskrcnn_server.backend import ModelConfig, Probe
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.keys import Keys
from maskrcnn_server.machine import available_cpus
from maskrcnn_server.optional import lacks
from maskrcnn_tensorflow.tf_environment import quietly
from maskrcnn_tf_object_detection.folder import find, read_folder

if TYPE_CHECKING:
    from maskrcnn_tf_object_detection.model import ExportedModel


class TFObjectDetectionBackend:
    """Loads SavedModels and frozen graphs that the API exported, with masks or without."""

    name = "tf_object_detection"
    keys = Keys()

    def probe(self, config: ModelConfig, /) -> Probe | None:
        if not config.model_dir.is_dir() or find(config.model_dir) is None:
            return None
        try:
            return read_folder(config).probe
        except (InvalidModel, InvalidSetting) as error:
            return Probe(facts={}, problems=[error.message])

    def describe_files(self, folder: Path, asked: Collection[str], /) -> list[str]:
        return described(folder, asked)

    def load(self, config: ModelConfig, /) -> "ExportedModel":
        folder = read_folder(config)
        if folder.problems:
            raise InvalidModel("; ".join(folder.problems))
        if lack := lacks("tensorflow", "maskrcnn-tensorflow"):
            raise InvalidSetting(lack)
        with quietly():
            from maskrcnn_tensorflow.graph_session import GraphSession
            from maskrcnn_tf_object_detection.model import ExportedModel

            session = GraphSession(folder.path, folder.outputs, config.threads or available_cpus())
        metadata = folder.metadata(self.name, config.score_threshold)
        return ExportedModel(metadata, folder.image, session)
