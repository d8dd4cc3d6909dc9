"""From settings to a model that is ready to serve."""

import logging
import time

import numpy as np

from maskrcnn_server.backend import Backend, Model, PredictOptions
from maskrcnn_server.errors import InvalidModel, StartupError
from maskrcnn_server.plugins import Plugins, select_backend
from maskrcnn_server.settings import Settings, model_config

WARM_UP_SIZE = (480, 640)

logger = logging.getLogger(__name__)


def choose_backend(plugins: Plugins, settings: Settings) -> Backend:
    """The backend that the settings name, or the one that fits the model folder.

    Raises BackendNotSelected.
    """
    backends = plugins.backends()
    for broken in plugins.broken:
        logger.warning(
            "plugin %s of %s is broken: %s", broken.name, broken.distribution, broken.reason
        )

    def accepts(backend: Backend) -> bool:
        try:
            probe = backend.probe(model_config(settings, backend.name))
        # A stranger's plugin may raise anything; it then does not accept the folder.
        except Exception:
            logger.warning("backend %s failed to probe", backend.name, exc_info=True)
            return False
        return probe is not None and not probe.problems

    return select_backend(backends, settings.backend, accepts)


def load_model(backend: Backend, settings: Settings) -> Model:
    """Load the model and run it once, so that the first request does not wait for compilation.

    Raises InvalidModel or InvalidSetting, also for whatever else the backend raised.
    """
    start = time.monotonic()
    try:
        model = backend.load(model_config(settings, backend.name))
        loaded = time.monotonic()
        warm_up(model)
    except StartupError:
        raise
    except Exception as error:
        raise InvalidModel(
            f"backend {backend.name} failed to load {settings.model_dir}: "
            f"{type(error).__name__}: {error}"
        ) from error
    for name, value in model.metadata.facts.items():
        logger.info("%s: %s", name, value)
    logger.info(
        "loaded %s in %.1f s, warmed up in %.1f s",
        model.metadata.name,
        loaded - start,
        time.monotonic() - loaded,
    )
    return model


def warm_up(model: Model) -> None:
    """One inference with everything in it: detections at any score, and their masks."""
    image = np.random.RandomState(0).randint(0, 256, (*WARM_UP_SIZE, 3), np.uint8)
    (found,) = model.predict([image], PredictOptions(score_threshold=0.0))
    if found.masks is not None:
        found.masks.rle("rows")
