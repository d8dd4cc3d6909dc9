"""A model in a process of its own, which cannot take the server down with it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from maskrcnn_server.errors import BackendFailed, MaskRCNNError, ModelFailed
from maskrcnn_workers.model_process import Limits, ModelProcess

if TYPE_CHECKING:
    from maskrcnn_server.backend import Image, Model, ModelMetadata, PredictOptions
    from maskrcnn_server.detections import Detections
    from maskrcnn_server.rle import Size

MAX_FAILURES = 5
"""Number of processes that may end in succession without a prediction. Then requests no longer wait
for the next one."""
FIRST_DELAY_S = 0.5
"""Delay before the second restart in succession; it doubles with each. The first restart is
immediate."""
LAST_DELAY_S = {True: 5.0, False: 60.0}
"""Longest delay before a restart: after a process that had loaded the model, and after one that had
not."""

logger = logging.getLogger(__name__)


class IsolatedModel:
    """A model that `load` makes in a process of its own, which restarts when it ends.

    A call that is lost with its process raises ModelLost and may run once more in the next process,
    unless the call was the reason: it took longer than `limits` allow (BackendTimedOut), or more
    memory (BackendCrashed).
    """

    def __init__(
        self, load: Callable[[], Model], *, name: str, limits: Limits | None = None
    ) -> None:
        """`load` is a module-level function, or a `partial` of one. Raises what `load` raises, and
        InvalidModel if the process ends or takes too long."""
        self._start = partial(ModelProcess, load, name, limits or Limits())
        self._name = name
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._failures = 0
        """Number of processes that ended since the last prediction."""
        self._reason = ""
        self._next_at = 0.0
        self._told: Callable[[], None] = lambda: None
        self.restarts = 0
        self._process = self._start()
        self._is_up = True
        threading.Thread(target=self._keep, name=f"keep {name}", daemon=True).start()

    @property
    def metadata(self) -> ModelMetadata:
        return self._process.metadata

    @property
    def batch_pixels(self) -> int:
        return self._process.batch_pixels

    @property
    def pid(self) -> int:
        """Process id. It changes with a restart."""
        return self._process.worker.pid

    def network_shape(self, size: Size, /) -> Size:
        return self._process.network_shape(size)

    def is_up(self) -> bool:
        with self._lock:
            if self._is_up or self._failures < MAX_FAILURES:
                return self._is_up
            wait_s = max(1, round(self._next_at - time.monotonic()))
            raise ModelFailed(
                f"the process of model {self._name} ended {self._failures} times in succession; "
                f"it restarts in {wait_s} s. The last one {self._reason}",
                model_name=self._name,
                retry_after_s=wait_s,
            )

    def tell(self, changed: Callable[[], None]) -> None:
        self._told = changed

    def predict(self, images: Sequence[Image], options: PredictOptions, /) -> list[Detections]:
        process = self._process
        try:
            found = process.predict(images, options)
        except BackendFailed:
            with self._lock:
                # The watching thread notices a little later; until then the next request must wait.
                if self._process is process and process.worker.is_ending:
                    self._is_up = False
            raise
        self._failures = 0
        return found

    def close(self) -> None:
        self._ending.set()
        with self._lock:
            self._process.close()

    def _keep(self) -> None:
        """Restart the process whenever it ends."""
        while True:
            self._process.worker.ended.wait()
            with self._lock:
                if self._ending.is_set():
                    return
                self._is_up = False
                self._reason = self._process.worker.obituary()
            self._told()
            self._process.close()
            if not self._restarted():
                return
            self._told()

    def _restarted(self) -> bool:
        """Restart until a process has the model: True. False if the model was closed meanwhile."""
        loads = True
        while True:
            delay_s = 0.0
            with self._lock:
                self._failures += 1
                if self._failures > 1:
                    # Jitter: processes that failed together should not restart together.
                    doubled = FIRST_DELAY_S * 2 ** min(self._failures - 2, 20)
                    delay_s = min(LAST_DELAY_S[loads], doubled) * random.uniform(0.5, 1)  # noqa: S311
                self._next_at = time.monotonic() + delay_s
            logger.warning(
                "the process of model %s %s; it restarts in %.1f s",
                self._name,
                self._reason,
                delay_s,
            )
            self._told()
            if self._ending.wait(delay_s):
                return False
            try:
                process = self._start()
            except (MaskRCNNError, OSError) as error:
                self._reason, loads = f"did not load it: {error}", False
                continue
            with self._lock:
                self._process, self._is_up = process, True
                self.restarts += 1
                if self._ending.is_set():
                    process.close()
                    return False
            logger.info("model %s is back in process %d", self._name, process.worker.pid)
            return True
