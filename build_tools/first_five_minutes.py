#!/usr/bin/env python3
"""Play three users' first five minutes from end to end, and print the seconds of each step.

    first_five_minutes.py [--keep FOLDER] [--limit SECONDS]

An engineer with a model.tar.gz installs what the README says into a new virtual environment, serves
the archive, and gets annotations and a drawing. An annotator opens the page in Chromium, drops an
image, slides, edits and exports. An operator runs the server with JSON logs, asks for its health
and metrics, and ends it. Each step checks what it got; the first that is wrong ends the script
with its reason. It fails, too, if all takes more seconds of a processor than the limit: other
programs on the machine do not change these.
"""

import argparse
import base64
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PARTS = (
    "backends/network",
    "backends/openvino",
    "backends/tensorpack",
    "handlers/annotation_formats",
    "handlers/playground",
)
"""Folders that the README's line installs besides the core."""
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo"
LISTENS = re.compile(r"running on (http://\S+:\d+)")
LIMIT_S = 90
WAIT_S = 60
DROP = """async (content) => {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "photo.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
}"""


class Wrong(Exception):
    """A step did not give what it should."""


@dataclass
class Story:
    """The steps that were played, and where their files are."""

    folder: Path
    total_s: float = 0
    environment: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def step(self, user: str, what: str) -> Iterator[None]:
        """Time a step, and say how long it took."""
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        self.total_s += seconds
        say(f"{user:<10} {what:<44} {seconds:6.1f} s")

    @property
    def program(self) -> str:
        """The installed `maskrcnn-server`."""
        return str(self.folder / "venv/bin/maskrcnn-server")


def main() -> None:
    """Play all three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="Folder for what they make (default: none).")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="Most CPU seconds for all.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        story = Story(folder, environment=clean_environment())
        try:
            engineer(story)
            operator(story)
        except Wrong as error:
            sys.exit(f"wrong: {error}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime
    say(f"{'all':<55} {story.total_s:6.1f} s, {cpu_s:.1f} s of a processor")
    if cpu_s > arguments.limit:
        sys.exit(f"that is more than {arguments.limit:g} s of a processor")


def engineer(story: Story) -> None:
    """From an archive to annotations and a drawing; then the annotator comes to the same server."""
    who, archive = "engineer", story.folder / "model.tar.gz"
    image = sorted((DEMO / "images").glob("*.png"))[-1]
    with story.step(who, "install into a new virtual environment"):
        install(story)
    with tarfile.open(archive, "w:gz") as packed:
        for file in sorted((DEMO / "model").iterdir()):
            packed.add(file, file.name)
    with story.step(who, "doctor model.tar.gz"):
        said = run(story, "doctor", str(archive))
        check("tensorpack" in said, f"doctor does not name the backend: {said}")
    with served(story, str(archive), who=who) as (url, _, _):
        with story.step(who, "send an image, get annotations"):
            found = json.loads(post(f"{url}/invocations", image.read_bytes()))["annotations"]
            wanted = {"bbox", "category_id", "category_name", "score", "segmentation"}
            check(len(found) > 1 and wanted <= set(found[0]), f"annotations: {found}")
        with story.step(who, "get a drawing"):
            drawn = post(f"{url}/invocations", image.read_bytes(), Accept="image/png")
            (story.folder / "drawing.png").write_bytes(drawn)
            with PIL.Image.open(BytesIO(drawn)) as seen, PIL.Image.open(image) as sent:
                check(seen.size == sent.size, f"a drawing of {seen.size}, not {sent.size}")
        annotator(story, url, image)


def annotator(story: Story, url: str, image: Path) -> None:
    """From an image to a corrected COCO file, in a browser."""
    who, program = "annotator", shutil.which("chromium")
    if program is None:
        raise Wrong("there is no browser: install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        page = browser.new_page()
        with story.step(who, "open the page"):
            page.goto(url)
            page.locator("#welcome .samples button").first.wait_for()
        with story.step(who, "drop an image, see what is found"):
            page.evaluate(DROP, base64.b64encode(image.read_bytes()).decode())
            expect(page.locator("#list li:visible").nth(1)).to_be_visible(timeout=1000 * WAIT_S)
        with story.step(who, "slide the score threshold"):
            before = page.locator("#list li:visible").count()
            page.locator("#score").fill("0.05")
            check(page.locator("#list li:visible").count() > before, "sliding shows no more")
            page.locator("#score").fill("0.5")
        with story.step(who, "delete one, relabel another"):
            page.locator("#list li").first.click()
            page.keyboard.press("Delete")
            page.locator("#label").fill("lynx")
            page.locator("#label").press("Enter")
        with story.step(who, "export COCO"):
            page.locator("#format").select_option("coco")
            with page.expect_download() as started:
                page.locator("#download").click()
            started.value.save_as(story.folder / "photo.coco.json")
        exported = json.loads((story.folder / "photo.coco.json").read_bytes())
        ids = [one["category_id"] for one in exported]
        check(len(ids) == before - 1, f"{len(ids)} annotations of {before} after deleting one")
        check(ids.count(max(ids)) == 1, f"not one of a new category: {ids}")
        browser.close()


def operator(story: Story) -> None:
    """JSON logs, health, metrics, and an orderly end."""
    who = "operator"
    variables = {"MASKRCNN_LOG_FORMAT": "json"}
    model = str(story.folder / "model.tar.gz")
    with served(story, model, who=who, variables=variables) as (url, process, log):
        with story.step(who, "ask /ping and /metrics"):
            ping = json.loads(get(f"{url}/ping"))
            check(ping["status"] == "ready", f"/ping: {ping}")
            post(f"{url}/invocations", next((DEMO / "images").glob("*.png")).read_bytes())
            metrics = get(f"{url}/metrics").decode()
            check("maskrcnn_requests_total{" in metrics, "no count of requests in /metrics")
        with story.step(who, "SIGTERM, and it ends"):
            process.send_signal(signal.SIGTERM)
            code = process.wait(WAIT_S)
            check(code == 0, f"exit code {code}")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        answered = [line for line in lines if line.get("status") == 200]
        check(bool(answered), "no line of the log tells of the request")


def install(story: Story) -> None:
    """Run the README's installation on a copy of the tree, which pip's builds leave files in."""
    tree, venv = story.folder / "tree", story.folder / "venv"
    listed = subprocess.run(
        [shutil.which("git") or "git", "-C", ROOT, "ls-files", "-z"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith(("maskrcnn_server/", *PARTS, "handlers/maskrcnn_handlers/")) or (
            "/" not in name
        ):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    subprocess.run([ROOT / "build_tools/make_venv.sh", sys.executable, venv], check=True)
    pip = [
        str(venv / "bin/python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    folders = [".", *(f"./{part}" for part in PARTS)]
    subprocess.run([*pip, *folders], check=True, cwd=tree, env=story.environment)


@contextmanager
def served(
    story: Story, model: str, *, who: str, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """The address, process and log of a server that is ready; it is ended in any case."""
    log = story.folder / f"{who}.log"
    command = [story.program, "serve", model, "--host", "127.0.0.1", "--port", "0"]
    env = story.environment | dict(variables or {})
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=env)
    try:
        with story.step(who, "serve model.tar.gz, until it is ready"):
            url = ready(process, log)
        yield url, process, log
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT_S)


def ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address of a server, once its `/ping` is 200."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if listens := LISTENS.search(log.read_text()):
            try:
                get(f"{listens[1]}/ping")
            except OSError:
                pass
            else:
                return listens[1]
        time.sleep(0.05)
    raise Wrong(f"the server does not get ready:\n{log.read_text()}")


def clean_environment() -> dict[str, str]:
    """This process's environment without this project's settings, and without its modules."""
    ours = ("MASKRCNN_", "SAGEMAKER_", "CONFIG__", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(story: Story, *arguments: str) -> str:
    """What a command of the installed program prints. Raises Wrong if it fails."""
    done = subprocess.run(
        [story.program, *arguments],
        capture_output=True,
        text=True,
        env=story.environment,
        cwd=story.folder,
        check=False,
    )
    check(done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def get(url: str) -> bytes:
    """The body of a page."""
    with urllib.request.urlopen(url, timeout=WAIT_S) as reply:
        body: bytes = reply.read()
    return body


def post(url: str, body: bytes, **headers: Any) -> bytes:
    """The reply to an image."""
    request = urllib.request.Request(url, body, {"Content-Type": "image/png", **headers})
    with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
        answer: bytes = reply.read()
    return answer


def check(is_right: bool, otherwise: str) -> None:
    """Raise Wrong unless it is right."""
    if not is_right:
        raise Wrong(otherwise)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
