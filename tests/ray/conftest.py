"""A Ray cluster of two nodes on this machine, with Serve on it. Own marker: `uv run --group ray pytest -m ray`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Under `uv run` Ray would pack this folder and have each worker build it anew.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
STORE = 100 << 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.ray)
            item.add_marker(pytest.mark.filterwarnings("ignore"))  # Ray's own, which are not ours to mend


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Two nodes of two logical CPUs each; gives the address at which Serve answers."""
    ray = pytest.importorskip("ray", reason="Ray is a dependency group of its own: --group ray")
    from ray import serve
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 2, "object_store_memory": STORE}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    nodes.add_node(**node)
    ray.init(address=nodes.address, log_to_driver=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def client(cluster: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster, timeout=300) as found:
        yield found
