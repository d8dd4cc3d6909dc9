"""The life of the chart's pods, played through on this machine with the chart's own numbers."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

if TYPE_CHECKING:
    from server_fixtures import Install, Server

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")

CHART = Path(__file__).parents[2] / "build_tools/kubernetes/maskrcnn-server"
PNG = {"Content-Type": "image/png"}
CLIENTS = 8
BEHIND_S = 5.0
"""Seconds after SIGTERM in which load balancers still send connections to a pod."""
PLUGIN = """
import time
from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend

class Slow(FakeBackend):
    def load(self, config, /):
        time.sleep(1)
        model = super().load(config)
        predict = model.predict
        model.predict = lambda *given: time.sleep(0.05) or predict(*given)
        return model

@hookimpl
def register_backends(register):
    register(Slow())
"""


class Endpoints:
    """Pods that connections are sent to, each in turn, as a load balancer that learns late does."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.replies: Counter[tuple[str, int]] = Counter()
        self.lost: list[str] = []
        self.ends = False

    def client(self, png: bytes, *, keeps: bool) -> None:
        """Sends requests until the test ends, on a connection each, or on one."""
        turn = 0
        with httpx.Client(timeout=60) as kept:
            while not self.ends:
                turn += 1
                url = self.urls[turn % len(self.urls)]
                ask = kept.post if keeps else httpx.post
                try:
                    reply = ask(f"{url}/invocations", content=png, headers=PNG)
                    self.replies[url, reply.status_code] += 1
                except httpx.TransportError as error:
                    self.lost.append(f"{url}: {error!r}")


@pytest.fixture
def pod(start: Callable[..., Server], install: Install, tmp_path: Path) -> Callable[[], Server]:
    """Starts the program of the chart's container, with its variables."""
    environment = install(PLUGIN)
    own = {each["name"]: each["value"] for each in container()["env"] if "value" in each}
    own |= {"MASKRCNN_MODEL": str(tmp_path), "MASKRCNN_BACKEND": "fake", "MASKRCNN_PORT": "0"}
    return lambda: start(tmp_path, env={**environment, **own})


def spec() -> dict[str, Any]:
    """The pod as Helm renders it by default."""
    texts = helm.Chart.load(CHART).render({}, name="a", namespace="n")
    deployment = yaml.safe_load(texts["maskrcnn-server/templates/deployment.yaml"])
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (only,) = spec()["containers"]
    return dict(only)


def wait_for_start(pod: Server) -> None:
    """What the kubelet does with the startup probe."""
    probe = container()["startupProbe"]
    for _ in range(probe["failureThreshold"]):
        try:
            path = f"{pod.url}{probe['httpGet']['path']}"
            if httpx.get(path, timeout=probe["timeoutSeconds"]).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(probe["periodSeconds"])
    raise AssertionError(pod.log.read_text())


@pytest.mark.full
def test_a_rollout_under_load_loses_no_request(pod: Callable[[], Server], png: bytes) -> None:
    """A new pod gets ready, the old one ends; connections come to it for 5 s after SIGTERM."""
    endpoints = Endpoints()
    old = pod()
    wait_for_start(old)
    endpoints.urls = [old.url]
    threads = [
        threading.Thread(target=endpoints.client, args=(png,), kwargs={"keeps": index % 2 == 0})
        for index in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        new = pod()
        wait_for_start(new)
        endpoints.urls = [old.url, new.url]
        # Deleted: preStop, then SIGTERM, and SIGKILL when the grace period is over.
        deleted = time.monotonic()
        time.sleep(container()["lifecycle"]["preStop"]["sleep"]["seconds"])
        old.process.send_signal(signal.SIGTERM)
        time.sleep(BEHIND_S)
        before = endpoints.replies[old.url, 200]
        assert before > 0
        assert httpx.get(f"{old.url}/ping").status_code == 503
        endpoints.urls = [new.url]
        left_s = spec()["terminationGracePeriodSeconds"] - (time.monotonic() - deleted)
        assert old.process.wait(left_s) == 0
    finally:
        endpoints.ends = True
        for thread in threads:
            thread.join()
    assert endpoints.lost == []
    assert {status for _, status in endpoints.replies} == {200}
    assert endpoints.replies[old.url, 200] > 50
    assert endpoints.replies[new.url, 200] > 50
    print(dict(endpoints.replies))  # noqa: T201
