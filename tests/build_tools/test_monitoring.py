"""Alerts and the dashboard, by Prometheus itself: on made-up series, and on those of a server."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from loopback import own_host

if TYPE_CHECKING:
    from server_fixtures import Install, Server

FOLDER = Path(__file__).parents[2] / "build_tools/monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
PNG = {"Content-Type": "image/png"}
WAIT_S = 60
IS_MISSING = "Prometheus (apt-get install prometheus) is not installed"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(IS_MISSING)
    return subprocess.run(
        [promtool, *arguments], capture_output=True, text=True, check=False, cwd=FOLDER
    )


def test_alerts_fire_when_they_should_and_only_then() -> None:
    done = run("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_one_of_prometheus() -> None:
    done = run("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 rules found" in done.stdout


def test_every_alert_is_tested() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    cases = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    for case in cases:
        tested = [test["alertname"] for test in case["alert_rule_test"]]
        assert tested.count("MaskRCNNErrors") == 1
        assert set(tested) == {rule["alert"] for rule in rules}
    fires = {bool(test.get("exp_alerts")) for case in cases for test in case["alert_rule_test"]}
    assert fires == {False, True}


class Prometheus:
    """A Prometheus that scrapes one server every second."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: str) -> Any:
        reply = httpx.get(f"{self._url}/api/v1/{path}", params=parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def query(self, text: str) -> list[float]:
        return [float(each["value"][1]) for each in self.get("query", query=text)["result"]]


@pytest.fixture
def server(start: Callable[..., Server], install: Install, tmp_path: Path) -> Server:
    running = start(tmp_path, "--model", str(tmp_path), "--backend", "fake", env=install())
    running.wait_for(200)
    return running


@pytest.fixture
def prometheus(server: Server, tmp_path: Path) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip(IS_MISSING)
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(FOLDER / "alerts.yml")]
    (job,) = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"{own_host()}:9090"
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml"]
    command += [f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={address}"]
    with (
        (tmp_path / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("not within a minute")


@pytest.mark.full
def test_every_query_of_the_dashboard_says_something(
    prometheus: Prometheus, server: Server, png: bytes, pool: ThreadPoolExecutor
) -> None:
    wait_until(lambda: prometheus.query("maskrcnn_ready") == [1])

    def ask(body: bytes) -> int:
        return httpx.post(f"{server.url}/invocations", content=body, headers=PNG).status_code

    end = time.monotonic() + 4
    while time.monotonic() < end:
        statuses = list(pool.map(ask, [png] * 7 + [b"no image"]))
        assert statuses == [200] * 7 + [422]
    wait_until(lambda: sum(prometheus.query("rate(maskrcnn_requests_total[10s])")) > 0)
    for case in QUERIES:
        (expression,) = case.values
        text = str(expression).replace("$__rate_interval", "15s")
        text = re.sub(r"\$(instance|model)", ".*", text)
        values = prometheus.query(text)
        assert values, f"{case.id}: {text}"
        assert all(map(math.isfinite, values)), f"{case.id}: {text}: {values}"
    shares = prometheus.query(
        'sum(rate(maskrcnn_requests_total{status="422"}[15s]))'
        " / sum(rate(maskrcnn_requests_total[15s]))"
    )
    assert shares == [pytest.approx(1 / 8, rel=0.2)]
    for variable in DASHBOARD["templating"]["list"][1:]:
        metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])[0]
        assert all(each[label] for each in prometheus.get("series", **{"match[]": metric}))
    (group,) = prometheus.get("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert {rule["state"] for rule in group["rules"]} == {"inactive"}


def test_panels_do_not_overlap_and_use_one_source() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
