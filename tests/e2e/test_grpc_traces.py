"""Traces of the Python SDK go through ``perdure serve``: from the caller's span down to the activity of a child."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("durabletask.client")
pytest.importorskip("opentelemetry.sdk")

from tests.e2e.grpc_server import grpc_server


def test_one_trace_from_the_caller_to_the_activity(tmp_path: Path):
    with grpc_server(tmp_path) as server:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.e2e.sdk_traced", server.address],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    spans = {span["id"]: span for span in json.loads(ran.stdout)}
    assert len({span["trace"] for span in spans.values()}) == 1
    parents = {span["parent"] for span in spans.values()}
    (innermost,) = [span for span in spans.values() if span["id"] not in parents]
    path: list[str] = []
    at = innermost
    while at["parent"] is not None:
        path.append(at["name"])
        at = spans[at["parent"]]
    # Who asks for something and who does it have a span each.
    assert [*path, at["name"]] == [
        "activity:add_one",
        "activity:add_one",
        "orchestration:child",
        "orchestration:child",
        "orchestration:parent",
        "create_orchestration:parent",
        "request",
    ]
