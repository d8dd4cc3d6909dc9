"""Which cluster `--ray auto` is."""

import socket
from typing import Any

import pytest

pytest.importorskip("ray")

import ray

from maskrcnn_ray import cluster

FIND = "ray._private.services.get_ray_address_from_environment"


@pytest.mark.parametrize("left_behind", [True, False], ids=["killed", "none"])
def test_without_a_cluster_one_is_started_here(
    monkeypatch: pytest.MonkeyPatch, left_behind: bool
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"

    def found(*_: object) -> str:
        if left_behind:
            return address
        raise ConnectionError("could not find any running Ray instance")

    monkeypatch.setattr(FIND, found)
    where = cluster._where("auto")
    assert where["address"] == "local"
    assert where["object_store_memory"] == cluster.OBJECT_STORE_BYTES


def test_a_cluster_that_runs_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listens:
        address = f"127.0.0.1:{listens.getsockname()[1]}"
        monkeypatch.setattr(FIND, lambda *_: address)
        assert cluster._where("auto") == {"address": address}
    assert cluster._where("ray://head:10001") == {"address": "ray://head:10001"}


def test_workers_have_the_settings_without_the_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", given.update)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("MASKRCNN_API_KEY", "secret")
    monkeypatch.setenv("MASKRCNN_MASK_THRESHOLD", "0.4")
    monkeypatch.setenv("OTHER", "1")
    with cluster.connected("ray://head:10001"):
        pass
    assert given["runtime_env"] == {"env_vars": {"MASKRCNN_MASK_THRESHOLD": "0.4"}}
