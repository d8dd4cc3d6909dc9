"""Starts a cluster of two nodes, says its address, kills the second node when told, ends with
its input."""

import sys

from ray.cluster_utils import Cluster

SIZE = {"num_cpus": 1, "object_store_memory": 80 << 20}


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={**SIZE, "include_dashboard": False})
    second = cluster.add_node(**SIZE)
    say(cluster.address)
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        say("killed")
    cluster.shutdown()
