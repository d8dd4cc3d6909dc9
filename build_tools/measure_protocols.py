#!/usr/bin/env python3
"""Measure what each protocol costs compared with `/invocations`, on one server, in one run.

measure_protocols.py [IMAGE] [--model DIR] [--backend NAME] [--rounds 40] [--json FILE]

One client sends the same image file by each protocol in turn, one request at a time, over open
connections, and reads the reply's bytes. The table has medians of milliseconds, and of each round's
ratio to `/invocations` with the file as the body. By default the model is the fake backend of
`maskrcnn_plugin_kit`, which takes no time; a network takes the same time in each. The gRPC
transport is measured where grpcio is installed.
"""

import argparse
import base64
import importlib.util
import json
import os
import random
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from maskrcnn_predict.child import served
from maskrcnn_study.benchmark.report import machine

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = """from maskrcnn_server import hookimpl
from maskrcnn_plugin_kit.testing import FakeBackend


@hookimpl
def register_backends(register):
    register(FakeBackend())
"""
BASE = "/invocations, file"
WARM_UPS = 3

Ask = Callable[[], int]
"""Sends one request; the number of bytes of its reply."""


def main() -> None:
    """Measure, and print the table."""
    options = _options()
    picture = options.image.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tempfile.TemporaryDirectory()
    variables = {"PROTOCOLS_MODEL_NAME": "m", "PYTHONPATH": _installed(Path(folder.name))}
    has_grpc = importlib.util.find_spec("grpc") is not None
    if has_grpc:
        variables["PROTOCOLS_GRPC_PORT"] = str(port)
    with (
        folder,
        served(options.model, options.backend, variables) as url,
        httpx.Client(base_url=url, timeout=60) as client,
        _grpc(port, picture, has_grpc) as grpc,
    ):
        asks = {**_http(client, picture), **grpc}
        sizes = {name: [ask() for _ in range(WARM_UPS)][-1] for name, ask in asks.items()}
        rounds = [_round(asks) for _ in range(options.rounds)]
    rows = [
        {
            "request": name,
            "ms": round(statistics.median(one[name] for one in rounds), 2),
            "ratio": round(statistics.median(one[name] / one[BASE] for one in rounds), 2),
            "reply_bytes": sizes[name],
        }
        for name in asks
    ]
    print("| request | median ms | ratio to `/invocations` | bytes of the reply |")  # noqa: T201
    print("| --- | --- | --- | --- |")  # noqa: T201
    for row in rows:
        print("| {request} | {ms} | {ratio} | {reply_bytes} |".format(**row))  # noqa: T201
    if options.json:
        content = {"machine": machine(), "image": options.image.name, "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def _round(asks: Mapping[str, Ask]) -> dict[str, float]:
    """Milliseconds of one request by each protocol, in an order of chance."""
    found = {}
    for name in random.sample(list(asks), len(asks)):
        start = time.perf_counter()
        asks[name]()
        found[name] = 1000 * (time.perf_counter() - start)
    return found


def _http(client: httpx.Client, picture: bytes) -> dict[str, Ask]:
    text = base64.b64encode(picture).decode()

    def post(path: str, content: bytes, **headers: str) -> Ask:
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        def ask() -> int:
            reply = client.post(path, content=content, headers={"Accept-Encoding": "", **named})
            return len(reply.raise_for_status().content)

        return ask

    def post_json(path: str, content: Any) -> Ask:
        return post(path, json.dumps(content).encode(), Content_Type="application/json")

    raw = struct.pack("<I", len(picture)) + picture
    tensor: dict[str, Any] = {"name": "image", "shape": [1], "datatype": "BYTES"}
    binary = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}
    head = json.dumps({**binary, "parameters": {"binary_data_output": True}}).encode()
    uri = f"data:image/png;base64,{text}"
    labelling = (
        '<View><Image name="i" value="$f"/><BrushLabels name="b" toName="i">'
        '<Label value="person"/></BrushLabels></View>'
    )
    task = {"tasks": [{"data": {"f": uri}}], "label_config": labelling, "project": "1"}
    roboflow = {"model_id": "m/1", "image": {"type": "base64", "value": text}}
    return {
        BASE: post("/invocations", picture, Content_Type="application/x-image"),
        "/invocations, JSON": post_json("/invocations", {"img_id": "a", "img_data": text}),
        "Open Inference REST, binary": post(
            "/v2/models/m/infer", head + raw, Inference_Header_Content_Length=str(len(head))
        ),
        "Open Inference REST, JSON": post_json(
            "/v2/models/m/infer", {"inputs": [{**tensor, "data": [text]}]}
        ),
        "TensorFlow Serving": post_json("/v1/models/m:predict", {"instances": [{"b64": text}]}),
        "Hugging Face detection": post("/hugging-face/object-detection", picture),
        "Hugging Face segmentation": post("/hugging-face/image-segmentation", picture),
        "roboflow v1": post_json("/infer/instance_segmentation", roboflow),
        "Label Studio": post_json("/label-studio/predict", task),
    }


@contextmanager
def _grpc(port: int, picture: bytes, has_grpc: bool) -> Iterator[dict[str, Ask]]:
    if not has_grpc:
        yield {}
        return
    import grpc

    from maskrcnn_protocols.open_inference.messages import message

    request = message("inference.ModelInferRequest")(model_name="m")
    contents = {"bytes_contents": [picture]}
    request.inputs.add(name="image", datatype="BYTES", shape=[1], contents=contents)
    body = request.SerializeToString()
    limits = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=limits) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        yield {"Open Inference gRPC": lambda: len(infer(body, timeout=60))}


def _installed(folder: Path) -> str:
    """A search path of modules that has the fake backend as a plugin."""
    metadata = folder / "fake-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[maskrcnn_server]\nfake = fake_plugin\n")
    (folder / "fake_plugin.py").write_text(PLUGIN)
    return os.pathsep.join([str(folder), *sys.path])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", nargs="?", type=Path, default=ROOT / "tests/images/china.png")
    parser.add_argument("--model", type=Path, default=ROOT)
    parser.add_argument("--backend", default="fake")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
