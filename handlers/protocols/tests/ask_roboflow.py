"""Asks a server by roboflow's `inference-sdk`: a request in JSON a line, and a reply a line.

A request has `url`, `mode` (v0 or v1), `configuration` (fields of `InferenceConfiguration`), `call`
(a method of the client) and `arguments`. Runs in a virtual environment of its own.
"""

import json
import sys
from typing import Any

import inference_sdk as sdk


def answer(request: dict[str, Any]) -> Any:
    client = sdk.InferenceHTTPClient(api_url=request["url"], api_key="any")
    client.select_api_v0() if request["mode"] == "v0" else client.select_api_v1()
    client.configure(sdk.InferenceConfiguration(**request["configuration"]))
    return getattr(client, request["call"])(*request["arguments"])


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line)), default=vars), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
