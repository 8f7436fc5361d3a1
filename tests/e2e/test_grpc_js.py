"""Microsoft's JavaScript SDK, unmodified, on ``perdure serve``: its worker and its client, in one program."""

import json
import subprocess
from typing import Any

import pytest

pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from tests.e2e import js_sdk
from tests.e2e.grpc_server import grpc_server

COMPLETED, FAILED = 1, 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not js_sdk.AVAILABLE, reason="needs Node.js with npm"),
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the programs say, having been run once."""
    folder = tmp_path_factory.mktemp("js")
    node = js_sdk.install(folder)
    said: dict[str, dict[str, Any]] = {}
    with grpc_server(folder) as server:
        for name in ("scenarios", "features"):
            program = subprocess.run(
                [node, f"{name}.js", server.address], cwd=folder, capture_output=True, text=True, timeout=100, check=False
            )
            assert program.returncode == 0, program.stderr
            said[name] = json.loads(program.stdout)
    return said


@pytest.fixture(scope="module")
def results(ran: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return ran["scenarios"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("chain", "5"),
        ("fanOut", "210"),
        ("parent", "2"),
        ("again", "3"),
        ("sleeping", '"awake"'),
        ("counting", "6"),
        ("waiting", '{"answer":42}'),
    ],
)
def test_orchestrations_come_to_their_results(results: dict[str, Any], name: str, output: str):
    assert results[name] == {"status": COMPLETED, "output": output, "failure": None}


def test_a_failure_comes_back_with_its_message(results: dict[str, Any]):
    assert results["failing"]["status"] == FAILED
    assert results["failing"]["failure"].endswith("failed: no")


def test_the_client_reads_histories_and_entities_and_purges(results: dict[str, Any]):
    assert results["history"] == [
        "OrchestratorStarted",
        "ExecutionStarted",
        "OrchestratorCompleted",
        "OrchestratorStarted",
        "ExecutionSuspended",
        "EventRaised",
        "ExecutionResumed",
        "OrchestratorCompleted",
        "ExecutionCompleted",
    ]
    assert (results["entity"], results["purged"]) == (6, 1)


FEATURES = {
    "retries": 3,
    "outOfAttempts": "FAILED",
    "same": 3,
    "versions": ["1.5", ["2.5", True]],
    "newerVersion": "FAILED",
    "race": "fast",
    "sent": "sender",
    "terminated": [{"why": "enough"}, "TERMINATED"],
    "purgedFamily": 3,
    "rewound": 2,
    "restarted": 3,
    "scheduled": ["PENDING", 3],
    "queried": ["js-1", "js-2", "js-3"],
    "listed": [2, True],
    "unknown": True,
    "taken": 6,
    "locked": True,
    "accounts": [["a", -5], ["b", 5]],
    "signaled": 7,
    "cleaned": [0, 0],
    "purgedFailed": 2,
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("feature", FEATURES)
def test_what_the_sdk_offers(ran: dict[str, dict[str, Any]], feature: str):
    assert ran["features"][feature] == FEATURES[feature]


def test_no_feature_is_left_out(ran: dict[str, dict[str, Any]]):
    assert list(ran["features"]) == list(FEATURES)
