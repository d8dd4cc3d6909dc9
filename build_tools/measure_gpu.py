#!/usr/bin/env python3
"""Measure the PyTorch engine on this machine's GPU: what it finds, then how fast.

    build_tools/measure_gpu.py --collect
    python3 build_tools/measure_gpu.py --out "$OUT" [--seconds 330] [--cpu]

The first, where there is a package index, puts wheels into build/gpu_wheels. The second, from there
on, needs Python 3.12, PyTorch, Triton, NumPy, OpenCV and that folder. On a machine that is lent for
tests, the second is the whole command, with build/gpu_wheels carried along, and 360 s suffice.

Each step runs in a process of its own, so one that fails costs its own rows. Tables are printed as
Markdown, and all rows are in measure_gpu.json. Weights are seeded, but for the demo model's, which
are trained and can judge half precision. Times are medians, in milliseconds: `gpu` of kernels
alone, `call` of a batch from bytes in memory to masks in memory.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / "build/gpu_wheels"
NEEDED = "pydantic pyyaml pluggy pillow packaging google-crc32c".split()
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
DEMO = ROOT / "backends/tensorpack/maskrcnn_tensorpack/demo/model"
PRECISIONS = ("float16", "float32", "tf32", "bfloat16")
BATCHES = (1, 8, 4, 2)
LIMIT = 20
"""Number of detections of an image at most, where time is measured."""
MIN_S = 20.0
"""Time that must be left for a step to begin."""
KERNELS = 24
"""Number of kernels that are listed."""
TESTS_S = 100.0
"""Time that tests may take."""
Row = dict[str, Any]


def steps(cpu: bool) -> Iterator[tuple[str, ...]]:
    """The most important first."""
    yield ("parity",)
    yield "halves", "float16"
    for precision in PRECISIONS[:1] if cpu else PRECISIONS:
        yield "speed", "float32" if cpu else precision
        if precision == "float16":
            yield "path", "float32" if cpu else precision
            yield "path", "float32" if cpu else precision, "worker"
            yield ("tests",)
            if not cpu:
                yield "kernels", precision
    if not cpu:
        yield "halves", "bfloat16"
        yield "halves", "tf32"


def main() -> None:
    """Collect wheels, run all steps, or one of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--collect", action="store_true", help="download the wheels, and end")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--cpu", action="store_true", help="all of it, in small, without a GPU")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.collect:
        collect()
    elif given.step:
        _find_modules()
        Step(given.cpu, given.weights).run(*given.step)
    else:
        given.out.mkdir(parents=True, exist_ok=True)
        conduct(given)


def collect() -> None:
    """Put wheels for Python 3.12 where `main` finds them."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:"]
    command += ["--python-version", "3.12", "--implementation", "cp", "--dest", str(WHEELS)]
    command += [f"--platform={name}" for name in PLATFORMS]
    subprocess.run([*command, *NEEDED], check=True)
    print(f"{sum(f.stat().st_size for f in WHEELS.iterdir()) / 1e6:.1f} MB in {WHEELS}")


def _find_modules() -> None:
    """Import from this repository, and from the wheels what is not installed."""
    plugins = [str(path.parent) for path in ROOT.glob("*/*/setup.cfg")]
    sys.path[:0] = [str(ROOT), str(ROOT / "handlers"), str(ROOT / "tests/golden"), *plugins]
    site = Path(tempfile.gettempdir()) / "measure_gpu_site"
    if all(find_spec(name) for name in ("pydantic", "yaml", "pluggy", "PIL", "google_crc32c")):
        return
    if not site.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
        wheels = [str(wheel) for wheel in sorted(WHEELS.glob("*.whl"))]
        subprocess.run([*command, "--target", str(site), *wheels], check=True)
    sys.path.insert(0, str(site))


def conduct(given: argparse.Namespace) -> None:
    """Run the steps while there is time, and show what they found."""
    begin, rows = time.monotonic(), []
    _find_modules()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder)
        for family in ("tensorpack",) if given.cpu else ("tensorpack", "aws_samples"):
            seed(weights / family, family)
        for step in steps(given.cpu):
            left = given.seconds - (time.monotonic() - begin)
            if left < MIN_S:
                rows.append({"step": " ".join(step), "failed": "no time was left"})
                continue
            command = [sys.executable, __file__, "--weights", folder, "--step", *step]
            command += ["--cpu"] if given.cpu else []
            rows += _rows_of(" ".join(step), command, left)
            (given.out / "measure_gpu.json").write_text(json.dumps(rows, indent=1))
            print(f"[{time.monotonic() - begin:4.0f} s] {' '.join(step)}", flush=True)
    print(tables(rows))


def seed(folder: Path, family: str) -> None:
    """The seeded resnet50 of a family of frameworks."""
    import numpy as np
    from make_weights import weights

    folder.mkdir()
    np.savez(folder / "model.npz", allow_pickle=False, **weights("resnet50", family))


def _rows_of(step: str, command: list[str], timeout_s: float) -> list[Row]:
    """What a process prints as rows, those before it fails included."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    late = threading.Timer(timeout_s, process.kill)
    late.start()
    said, complaint = process.communicate()
    late.cancel()
    rows = [json.loads(line[4:]) for line in said.splitlines() if line.startswith("ROW ")]
    if process.returncode:
        last = complaint.strip()[-2000:] or f"ended with {process.returncode}"
        print(last, file=sys.stderr)
        rows.append({"step": step, "failed": last.splitlines()[-1]})
    return [{"step": step, **row} for row in rows]


def tables(rows: list[Row]) -> str:
    """All rows in Markdown, those of the same columns together."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault(tuple(row), []).append(row)
    lines: list[str] = []
    for columns, alike in grouped.items():
        lines += ["", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
        lines += [f"| {' | '.join(_cell(value) for value in row.values())} |" for row in alike]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _find_engine(cpu: bool) -> None:
    """Let dialects find the engine, since nothing is installed and has entry points."""
    from maskrcnn_network import dialect
    from maskrcnn_torch.plugin import TorchEngine

    plugins = SimpleNamespace(engines=lambda: {"torch": TorchEngine()})
    vars(dialect)["installed"] = lambda: plugins
    if cpu:
        TorchEngine.lacks = lambda *_: None  # type: ignore[method-assign]  # float16 is slow


def served(cpu: bool, weights: Path, precision: str) -> Any:
    """The model of the whole path, whose graphs for every size of a batch are recorded."""
    from maskrcnn_server.backend import PredictOptions

    _find_engine(cpu)
    step = Step(cpu, weights)
    model = step.load("demo" if cpu else "tensorpack", precision)
    options = PredictOptions(score_threshold=0.05, max_detections=LIMIT)
    for batch in (1,) if cpu else range(1, 9):
        for _ in range(3):  # at first sight, recorded, replayed
            model.predict([step.image()] * batch, options)
    return model


class Step:
    """One step, in this process."""

    def __init__(self, cpu: bool, weights: Path) -> None:
        self.cpu = cpu
        self.weights = weights
        self.device = "cpu" if cpu else "cuda:0"
        self.rounds = 2 if cpu else 20

    def run(self, name: str, *arguments: str) -> None:
        """Call the method of this name."""
        if name == "client":
            self.client(*arguments)
            return
        _find_engine(self.cpu)
        getattr(self, name)(*arguments)

    def parity(self) -> None:
        """What the original code found, in float32."""
        import numpy as np
        from golden import _reference, assert_reproduced

        from maskrcnn_server.backend import PredictOptions

        families = {"tensorpack": 2e-4} if self.cpu else {"tensorpack": 2e-4, "aws_samples": 5e-4}
        for family, tolerance in families.items():
            with self.attempt(family):
                model = self.load(family, "float32")
                for photo in ("chelsea",) if self.cpu else ("chelsea", "astronaut"):
                    image = _image(f"tests/images/{photo}.png")
                    options = PredictOptions(score_threshold=0.05, proposals=True)
                    (found,) = model.predict([image], options)
                    file = ROOT / f"tests/golden/{family}-resnet50-{photo}.npz"
                    rule = model.reading.preparation
                    scale = rule.box_scale(image.shape[:2], rule.resized_size(image.shape[:2]))
                    reproduced = "yes"
                    try:
                        assert_reproduced(file, image, found, tolerance, scale)
                    except AssertionError as error:
                        reproduced = f"NO: {str(error).splitlines()[0] if str(error) else error!r}"
                    golden = dict(np.load(file))
                    row = compared(found, _reference(golden, image), 1.0)
                    emit(model=family, photo=photo, reproduced=reproduced, **row)
                model.close()

    def tests(self) -> None:
        """Kernels and graphs against a CPU's answers, and every promise of engines, if pytest is
        there."""
        files = [f"backends/torch/tests/test_{name}.py" for name in ("cuda", "conformance")]
        command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "--noconftest"]
        done = subprocess.run(
            [*command, "-k", "cuda or OnGPU", *files],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=TESTS_S,
        )
        lines = done.stdout.splitlines() or ["nothing"]
        for line in lines:
            if line.startswith(("FAILED", "ERROR", "E  ")):
                emit(tests=line[:200])
        emit(tests=lines[-1])

    def halves(self, precision: str) -> None:
        """Of what the trained model finds in float32 with 0.5 or more, what it finds again."""
        from maskrcnn_server.backend import PredictOptions

        full, half = self.load("demo", "float32"), self.load("demo", precision)
        totals: list[Row] = []
        for seed in range(9500000, 9500004 if self.cpu else 9500008):
            image = _image(f"tests/demo/golden/shapes-{seed}.png")
            options = PredictOptions(score_threshold=0.5)
            (expected,), (found,) = (m.predict([image], options) for m in (full, half))
            totals.append(compared(found, expected, 5.0))
        row = {key: max(r[key] for r in totals) for key in ("box px", "score")}
        row["least mask IoU"] = min(r["least mask IoU"] for r in totals)
        counts = {key: sum(r[key] for r in totals) for key in ("found", "expected", "matched")}
        emit(precision=precision, **counts, **row)

    def speed(self, precision: str) -> None:
        """Batches, without and with graphs; stages; memory."""
        import torch

        begin = time.monotonic()
        # As in a server, which is ready once the usual shapes are recorded.
        served = precision == "float16"
        model = self.load("demo" if self.cpu else "tensorpack", precision, dedicated=served)
        session, image = model.session, self.image()
        seconds = {"ready s": time.monotonic() - begin}
        if not (served or self.cpu):
            self._warm(model, image)
            seconds["of one shape"] = time.monotonic() - begin
        emit(precision=precision, **seconds, **dict(session.facts))
        cache = session._graphs
        batches = BATCHES[:1] if self.cpu else BATCHES
        for batch in (number for number in batches if number <= session.max_batch):
            for how in ("graph", "eager"):
                with self.attempt(f"{how}, {batch}"):
                    if not self.cpu:
                        torch.cuda.reset_peak_memory_stats()
                    limit = cache._limit
                    cache._limit = limit if how == "graph" else 0
                    begin = time.monotonic()
                    call, gpu = self._timed_call(model, [image] * batch)
                    cache._limit = limit
                    emit(
                        precision=precision,
                        how=how,
                        images=batch,
                        call=call,
                        gpu=gpu,
                        **{
                            "gpu, an image": gpu / batch,
                            "images/s": 1e3 * batch / call,
                            "peak GB": 0.0 if self.cpu else torch.cuda.max_memory_allocated() / 1e9,
                            "reserved GB": 0.0 if self.cpu else torch.cuda.memory_reserved() / 1e9,
                            "all s": time.monotonic() - begin,
                        },
                    )
        emit(fuses=session._ops.fuses, **{"but not": sorted(session._ops._unfused)})
        with self.attempt("stages"):
            from maskrcnn_server.backend import PredictOptions

            options = PredictOptions(score_threshold=0.05, max_detections=LIMIT)
            parts = model.profile(image, options)
            emit(precision=precision, **{part: 1e3 * s for part, s in parts.items()})

    def kernels(self, precision: str) -> None:
        """Where the GPU's time goes: its kernels in one replay."""
        from torch.profiler import ProfilerActivity, profile

        model, image = self.load("tensorpack", precision), self.image()
        self._warm(model, image)
        for batch in (1, 8):
            with self.attempt(f"kernels of {batch}"):
                self._timed_call(model, [image] * batch)
                with profile(activities=[ProfilerActivity.CUDA]) as profiled:
                    self._timed_call(model, [image] * batch)
                calls = 3 + 2 * self.rounds
                kernels = [e for e in profiled.key_averages() if e.self_device_time_total]
                total = sum(e.self_device_time_total for e in kernels)
                kernels.sort(key=lambda e: -e.self_device_time_total)
                for event in kernels[:KERNELS]:
                    emit(
                        images=batch,
                        kernel=event.key[:160],
                        **{
                            "launches": event.count / calls,
                            "us an image": event.self_device_time_total / calls / batch,
                            "share": event.self_device_time_total / total,
                        },
                    )
                launches = sum(e.count for e in kernels) / calls
                emit(images=batch, kernel="all", launches=launches, us=total / calls / batch)

    def path(self, precision: str, model_in: str = "server") -> None:
        """From a JPEG's bytes to run lengths: by threads of this process, then over HTTP.

        `model_in`: the server's process, which is this one, or a worker's, as in isolation.
        """
        from maskrcnn_handlers.request.images import decode
        from maskrcnn_server.backend import PredictOptions
        from maskrcnn_server.hosting.job import Caller
        from maskrcnn_server.hosting.scheduler import Scheduler
        from maskrcnn_server.rle import compressed

        jpeg, load = _jpeg(self.image()), partial(served, self.cpu, self.weights, precision)
        if model_in == "worker":
            import measure_gpu

            from maskrcnn_workers.isolated import IsolatedModel

            load = partial(measure_gpu.served, *load.args)  # its name is not __main__ there
            model = IsolatedModel(load, name="path")
        else:
            model = load()
        scheduler = Scheduler(model, max_waiting=64, max_batch=8)
        options = PredictOptions(score_threshold=0.05, max_detections=LIMIT)

        def answer(data: bytes) -> bytes:
            with scheduler.job(Caller(600)) as job:
                (found,) = job.predict([decode(data, 1 << 26)], options)
            return written(found, compressed(paste(found)))

        def paste(found: Any) -> Any:
            return found.masks.rle("columns")

        def written(found: Any, counts: list[str]) -> bytes:
            scores, boxes = found.scores.tolist(), found.boxes.tolist()
            return json.dumps({"boxes": boxes, "scores": scores, "counts": counts}).encode()

        (found,) = model.predict([decode(jpeg, 1 << 26)], options)
        masks = paste(found)
        parts: dict[str, Callable[[], object]] = {
            "decode": lambda: decode(jpeg, 1 << 26),
            "paste": lambda: paste(found),
            "compress": lambda: compressed(masks),
            "JSON": lambda: written(found, compressed(masks)),
        }
        host = {part: _cpu_ms(call) for part, call in parts.items()}
        host["JSON"] -= host["compress"]
        emit(
            precision=precision,
            path="CPU ms of an image",
            runs=sum(len(mask.counts) for mask in masks),
            **host,
        )
        usual = sys.getswitchinterval()
        for clients, switch_s in (1, usual), (16, usual), (32, usual), (16, usual / 10):
            sys.setswitchinterval(switch_s)
            for how, asking in (("process", self._in_process), ("HTTP", self._over_http)):
                with self.attempt(f"{how}, {clients}"):
                    count = 4 if self.cpu else 40 * min(clients, 16)
                    scheduler.calls.clear()
                    begin = time.process_time()
                    rate, laps = asking(answer, jpeg, clients, count)
                    cpu_s, calls = time.process_time() - begin, scheduler.calls
                    emit(
                        precision=precision,
                        **{"model in": model_in},
                        path=how,
                        clients=clients,
                        **{"switch ms": 1e3 * switch_s},
                        **{
                            "images/s": rate,
                            "CPU ms": 1e3 * cpu_s / sum(n * c for n, c in calls.items()),
                            "median": 1e3 * statistics.median(laps),
                            "slowest of 100": 1e3 * sorted(laps)[int(0.99 * (len(laps) - 1))],
                            "images a call": sum(n * c for n, c in calls.items()) / calls.total(),
                        },
                    )

    def load(self, name: str, precision: str, *, dedicated: bool = False) -> Any:
        """The seeded model of a family, or the demo model."""
        from maskrcnn_aws_samples.backend import AwsSamplesBackend
        from maskrcnn_server.backend import ModelConfig
        from maskrcnn_tensorpack.backend import TensorPackBackend

        backend = AwsSamplesBackend() if name == "aws_samples" else TensorPackBackend()
        config = ModelConfig(
            model_dir=DEMO if name == "demo" else self.weights / name,
            engine="torch",
            device=self.device,
            precision=precision,  # type: ignore[arg-type]
            dedicated=dedicated,
        )
        return backend.load(config)

    def image(self) -> Any:
        """Of 640 x 427 pixels, which the network sees as 1199 x 800."""
        return _image(
            "tests/demo/golden/shapes-9500000.png" if self.cpu else "tests/images/china.png"
        )

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What fails inside costs its own row."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            emit(what=what, failed=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")

    def _warm(self, model: Any, image: Any) -> None:
        model.session.warm([model.reading.preparation.resized_size(image.shape[:2])])

    def _timed_call(self, model: Any, images: list[Any]) -> tuple[float, float]:
        """Milliseconds of a call, and of its kernels."""
        import torch

        from maskrcnn_network.engine import RunOptions

        session, rule = model.session, model.reading.preparation
        sizes = [rule.resized_size(image.shape[:2]) for image in images]
        ask = RunOptions(score_threshold=0.05, limit=LIMIT)
        for _ in range(3):  # at first sight, recorded, replayed
            session.run(images, sizes, ask)
        laps = []
        for _ in range(self.rounds):
            begin = time.perf_counter()
            session.run(images, sizes, ask)
            laps.append(1e3 * (time.perf_counter() - begin))
        call = statistics.median(laps)
        if self.cpu:
            return call, call
        with session._computing():
            inputs = session._inputs(images, sizes, 0.05)
            slots = next(n for n in session._slots() if n >= LIMIT)
            marks = []
            for _ in range(self.rounds):
                event: Any = torch.cuda.Event
                begun, ended = (event(enable_timing=True) for _ in range(2))
                begun.record()
                ran = session._graphs.run(*inputs)
                ran.then(slots, partial(session._masks, slots))
                ended.record()
                marks.append((begun, ended))
            torch.cuda.synchronize()
            return call, statistics.median(a.elapsed_time(b) for a, b in marks)

    def _in_process(
        self, answer: Callable[[bytes], bytes], data: bytes, clients: int, count: int
    ) -> tuple[float, list[float]]:
        """Images a second, and the seconds of each."""

        def ask(_: int) -> float:
            begin = time.perf_counter()
            answer(data)
            return time.perf_counter() - begin

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, range(clients)))
            begin = time.perf_counter()
            laps = list(pool.map(ask, range(count)))
            return count / (time.perf_counter() - begin), laps

    def _over_http(
        self, answer: Callable[[bytes], bytes], data: bytes, clients: int, count: int
    ) -> tuple[float, list[float]]:
        """The same of clients in another process, which ask a server in this one."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                reply = answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        with Server(("127.0.0.1", 0), Handler) as server, tempfile.NamedTemporaryFile() as file:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            file.write(data)
            file.flush()
            arguments = [file.name, str(server.server_port), str(clients), str(count)]
            done = subprocess.run(
                [sys.executable, __file__, "--step", "client", *arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            server.shutdown()
        rate, laps = json.loads(done.stdout.splitlines()[-1])
        return rate, laps

    def client(self, file: str, port: str, clients: str, count: str) -> None:
        """RunOptions a server so often, over so many connections, and print how long it took."""
        data, own = Path(file).read_bytes(), threading.local()

        def ask(_: int) -> float:
            begin = time.perf_counter()
            if not hasattr(own, "connection"):
                own.connection = http.client.HTTPConnection("127.0.0.1", int(port))
            own.connection.request("POST", "/", data)
            response = own.connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"status {response.status}")
            return time.perf_counter() - begin

        with ThreadPoolExecutor(int(clients)) as pool:
            list(pool.map(ask, range(int(clients))))
            begin = time.perf_counter()
            laps = list(pool.map(ask, range(int(count))))
            print(json.dumps([int(count) / (time.perf_counter() - begin), laps]))


def compared(found: Any, expected: Any, tolerance: float) -> Row:
    """How far detections are from those that are expected."""
    from maskrcnn_server.agreement import compare

    result = compare(found, expected, tolerance)
    return {
        "found": len(found),
        "expected": len(expected),
        "matched": len(result.pairs),
        "box px": float(result.box_distances.max(initial=0)),
        "score": float(result.score_differences.max(initial=0)),
        "least mask IoU": float(result.mask_ious.min(initial=1)),
    }


def emit(**row: object) -> None:
    """A row, for the process that started this one."""
    print("ROW " + json.dumps(row), flush=True)


def _cpu_ms(call: Callable[[], object]) -> float:
    """Milliseconds of CPU time that this thread needs."""
    laps = []
    for _ in range(30):
        begin = time.thread_time()
        call()
        laps.append(1e3 * (time.thread_time() - begin))
    return statistics.median(laps)


def _image(path: str) -> Any:
    import numpy as np
    import PIL.Image

    return np.array(PIL.Image.open(ROOT / path).convert("RGB"))


def _jpeg(image: Any) -> bytes:
    import PIL.Image

    data = BytesIO()
    PIL.Image.fromarray(image).save(data, "JPEG", quality=90)
    return data.getvalue()


if __name__ == "__main__":
    main()
