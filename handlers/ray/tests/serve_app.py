"""Serves on a cluster of this machine, says the port and the replicas' processes, and ends with its
input."""

import socket
import sys

import ray
from ray import serve
from ray.exceptions import RayError

from maskrcnn_ray.serve import Arguments, app


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 << 20,
        log_to_driver=False,
    )
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    args = Arguments(model=sys.argv[1], backend="fake", min_replicas=2, max_replicas=2, gates=1)
    serve.run(app(args))
    say(str(port))
    replicas = serve.get_deployment_handle("model", "default")
    for _ in sys.stdin:
        try:
            say(str(replicas.pid.remote().result(timeout_s=30)))
        except (RayError, TimeoutError):
            say("0")
    ray.shutdown()
