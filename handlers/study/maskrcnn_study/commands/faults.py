"""`maskrcnn-server faults`"""

import http.client
import json
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import numpy as np
import PIL.Image
import typer

from maskrcnn_predict.child import Child, running, serve_command
from maskrcnn_server import settings as environment
from maskrcnn_study.faulty import FAULTS, PID

ANSWER_TIMEOUT_S = 60
"""Longest wait for a reply: more than any request may take in this server."""
PAUSE_S = (0.2, 1.0)
"""Shortest and longest time between a process' return and its next end."""
Entry = dict[str, object]
"""A model in models.yaml."""
FAULTY: Entry = {"backend": "faulty", "options": {"seconds": 0.05}}
NEIGHBOUR: Entry = {"default": True, "required": True}
ISOLATED: Entry = {**FAULTY, "isolation": "process"}
MODELS: dict[str, Entry] = {
    "victim": ISOLATED,
    "poison": ISOLATED,
    "hangs": {**ISOLATED, "predict_timeout_s": 1},
    "eats": {**ISOLATED, "memory_limit_mb": 500},
    "hangs_inside": {**FAULTY, "predict_timeout_s": 2},
    "raises_at_load": {**FAULTY, "options": {"at_load": "raise"}},
    "dies_at_load": {**ISOLATED, "options": {"at_load": "die"}},
    "hangs_at_load": {**ISOLATED, "load_timeout_s": 4, "options": {"at_load": "hang"}},
    "eats_at_load": {**ISOLATED, "memory_limit_mb": 500, "options": {"at_load": "eat"}},
}
"""The models besides the neighbour, as models.yaml has them."""
ASKED = {"poison": "die", "hangs": "hang", "eats": "eat"}
"""The fault that requests ask of isolated models."""
SLOW = ("poison", "eats", "hangs_inside", "hangs_at_load", "eats_at_load")
"""Models that a quick run leaves out."""
GOOD = 64
"""Height of an image that asks for no fault."""
HEIGHTS = {fault: height for height, fault in FAULTS.items()}


@dataclass
class Outcomes:
    """What became of the requests to one model in one phase."""

    phase: str
    model: str
    answers: Counter[str] = field(default_factory=Counter)
    """By code of the error, or `200`, or `none`."""
    seconds: list[float] = field(default_factory=list)

    def row(self) -> str:
        """A line of the table."""
        sent = sum(self.answers.values())
        errors = {k: n for k, n in sorted(self.answers.items()) if k not in ("200", "none")}
        named = ", ".join(f"{n} `{code}`" for code, n in errors.items()) or "0"
        ordered = sorted(self.seconds)
        typical = 1000 * statistics.median(ordered)
        worst = 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        return (
            f"| {self.phase} | `{self.model}` | {sent} | {self.answers['200']} | {named} "
            f"| {self.answers['none']} | {typical:.0f} | {worst:.0f} |"
        )


def faults(
    kills: Annotated[int, typer.Option(min=1, help="Number of times to kill the victim.")] = 20,
    clients: Annotated[int, typer.Option(min=1, help="Number of clients of each model.")] = 4,
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder of the healthy neighbour (default: a fake model)."),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Backend of that model.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the faults that take long.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file.")
    ] = None,
) -> None:
    """Serve models that fail in every way next to a healthy one, and count lost requests.

    The healthy neighbour is the --model, or a fake one. The isolated `victim` is killed again and
    again while it computes; `poison` gets requests that end its process, `hangs` requests that it
    never answers, `eats` requests that exceed its memory, and, last, `hangs_inside` hangs in the
    server's own process. Other models fail to load. The exit code is 1 if a request got no reply,
    if the neighbour failed, or if an isolated model is not back at the end.
    """
    with tempfile.TemporaryDirectory() as folder:
        command, env = _set_up(Path(folder), model, backend, quick)
        with running(command, env=env) as server:
            outcomes, problems = _run(server, Path(folder), kills, clients)
    problems += _judged(outcomes)
    if json_file:
        rows = [{"phase": o.phase, "model": o.model, "answers": o.answers} for o in outcomes]
        json_file.write_text(json.dumps({"rows": rows, "problems": problems}, indent=1) + "\n")
    head = "| meanwhile | model | requests | 200 | error | no answer | median ms | 99 % ms |"
    lines = [head, f"| --- | --- {'| ---: ' * 6}|", *(o.row() for o in outcomes), "", *problems]
    typer.echo("\n".join(lines))
    if problems:
        raise typer.Exit(1)


def _set_up(
    folder: Path, model: Path | None, backend: str | None, quick: bool
) -> tuple[list[str], dict[str, str]]:
    """The command that serves, and its environment, in which the faulty backend is installed."""
    info = folder / "site/faulty-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    entry_point = "faulty = maskrcnn_study.faulty"
    (info / "entry_points.txt").write_text(f"[maskrcnn_server]\n{entry_point}\n")
    models: dict[str, Entry] = {"neighbour": {**FAULTY, **NEIGHBOUR}}
    if model is not None:
        chosen = {"backend": backend} if backend else {}
        models["neighbour"] = {"model": str(model.resolve()), **chosen, **NEIGHBOUR}
    models |= {name: entry for name, entry in MODELS.items() if not (quick and name in SLOW)}
    for name, entry in models.items():
        if "model" not in entry:
            (folder / name).mkdir()
            models[name] = {**entry, "model": str(folder / name)}
    # JSON is YAML.
    (folder / "models.yaml").write_text(json.dumps({"models": models}))
    env = environment.without_settings()
    paths = [str(folder / "site"), *filter(None, [env.get("PYTHONPATH")])]
    env |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "MASKRCNN_TIMEOUT": "10" if quick else "30",
        "MASKRCNN_LOG_LEVEL": "error",
    }
    return serve_command("--models", str(folder / "models.yaml")), env


def _run(server: Child, folder: Path, kills: int, clients: int) -> tuple[list[Outcomes], list[str]]:
    good = _image(GOOD)
    outcomes: list[Outcomes] = []

    def phase(name: str, model: str, image: bytes, during: Callable[[Outcomes], None]) -> None:
        """Ask the model and the neighbour until `during` returns."""
        asked = Outcomes(name, model)
        neighbour = Outcomes(name, "neighbour")
        outcomes.extend([asked, neighbour])
        with ExitStack() as running_clients:
            for _ in range(clients):
                running_clients.enter_context(_client(server.url, asked, image))
            for _ in range(2):
                running_clients.enter_context(_client(server.url, neighbour, good))
            during(asked)

    def until(count: int, code: str = "") -> Callable[[Outcomes], None]:
        """Until so many answers came."""
        return lambda asked: _wait(
            lambda: (asked.answers[code] if code else asked.answers.total()) >= count
        )

    states = _states(server.url)
    phase("nothing", "victim", good, lambda _: time.sleep(0.5 * kills))
    phase(f"{kills} kills", "victim", good, lambda _: _kill(folder / "victim" / PID, kills))
    for model, fault in ASKED.items():
        if model in states:
            ill = _image(HEIGHTS[fault])
            phase(f"each request makes it {fault}", model, ill, until(clients + 1))
            phase("it is back", model, good, until(2 * clients, "200"))
    problems = [
        f"problem: {name} is {state} at the end"
        for name, state in _states(server.url).items()
        if (state == "failed") != name.endswith("_at_load")
    ]
    if "hangs_inside" not in states:
        return outcomes, problems
    ill = _image(HEIGHTS["hang"])
    phase("each request makes it hang", "hangs_inside", ill, until(clients))
    status = _get(server.url, "/ping")[0]
    if status != 503:
        problems.append(f"problem: /ping is {status} while a model inside hangs")
    return outcomes, problems


def _judged(outcomes: list[Outcomes]) -> list[str]:
    problems = []
    for one in outcomes:
        if one.answers["none"]:
            problems.append(f"problem: {one.model}, {one.phase}: requests without an answer")
        if one.model == "neighbour" and set(one.answers) != {"200"}:
            problems.append(f"problem: the neighbour failed, {one.phase}: {dict(one.answers)}")
    return problems


@contextmanager
def _client(url: str, outcomes: Outcomes, image: bytes) -> Iterator[None]:
    """Ask again and again, meanwhile."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            start = time.monotonic()
            answer = _asked(url, outcomes.model, image)
            outcomes.seconds.append(time.monotonic() - start)
            outcomes.answers[answer] += 1
            if answer == "model_failed":
                # As Retry-After says, shortened.
                ended.wait(0.2)

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    ended.set()
    thread.join()


def _asked(url: str, model: str, image: bytes) -> str:
    """`200`, the code of the error, or `none`. No request is sent twice."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_TIMEOUT_S)
    try:
        headers = {"Content-Type": "image/png"}
        connection.request("POST", f"/models/{model}/invocations", image, headers)
        reply = connection.getresponse()
        body = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError):
        return "none"
    finally:
        connection.close()
    return "200" if reply.status == 200 else str(body["error"]["code"])


def _kill(file: Path, times: int) -> None:
    """Kill the process whose id is in the file, and each that takes its place."""
    chance = random.Random(0)  # noqa: S311 (not for secrets)
    killed = ""
    for _ in range(times):
        killed = _next(file, killed)
        time.sleep(chance.uniform(*PAUSE_S))
        os.kill(int(killed), signal.SIGKILL)
    _next(file, killed)


def _next(file: Path, before: str) -> str:
    """What the file holds, when that is another thing than before."""
    _wait(lambda: file.read_text() not in ("", before))
    return file.read_text()


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10 * ANSWER_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not come back")
        time.sleep(0.02)


def _states(url: str) -> dict[str, str]:
    _, body = _get(url, "/models")
    return {model["modelName"]: model["status"] for model in json.loads(body)["models"]}


def _get(url: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_TIMEOUT_S)
    connection.request("GET", path)
    reply = connection.getresponse()
    return reply.status, reply.read()


def _image(height: int) -> bytes:
    pixels = np.zeros((height, GOOD, 3), np.uint8)
    pixels[2:9, 3:30, 0] = 255
    file = BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
