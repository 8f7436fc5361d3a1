"""The clients and the worker that Microsoft makes for its managed service, unmodified, on ``perdure serve``."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.azuremanaged")

from durabletask import history
from durabletask.azuremanaged.client import AsyncDurableTaskSchedulerClient, DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker

from tests.certificates import certificates
from tests.e2e.grpc_server import GrpcServer, grpc_server
from tests.e2e.sdk_lab import SILENT, client_at, run, worker_at

PLAIN: Any = {"token_credential": None, "secure_channel": False}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[GrpcServer]:
    with grpc_server(tmp_path_factory.mktemp("hub")) as running:
        yield running


def test_a_worker_runs_what_is_in_its_task_hub(server: GrpcServer):
    with (
        client_at(server.address, kind=DurableTaskSchedulerClient, taskhub="Orders", **PLAIN) as ours,
        client_at(server.address, kind=DurableTaskSchedulerClient, taskhub="others", **PLAIN) as theirs,
        worker_at(server.address, kind=DurableTaskSchedulerWorker, taskhub="orders", **PLAIN),
    ):
        left_alone = theirs.schedule_new_orchestration("chain", input=2)
        assert run(ours, "chain", 5).get_output() == 5
        assert run(ours, "counts", "managed").get_output() == [5, True, 5]
        state = theirs.get_orchestration_state(left_alone)
        assert state.runtime_status.name == "PENDING"
        assert ours.get_orchestration_state(left_alone) is None


async def test_the_async_client_does_the_same(server: GrpcServer):
    client = AsyncDurableTaskSchedulerClient(host_address=server.address, taskhub="async", logger=SILENT, **PLAIN)
    with worker_at(server.address, kind=DurableTaskSchedulerWorker, taskhub="async", **PLAIN):
        try:
            instance_id = await client.schedule_new_orchestration("chain", input=3)
            state = await client.wait_for_orchestration_completion(instance_id, timeout=30)
            assert state is not None
            assert state.get_output() == 3
            # It names its task hub in all calls but in streams.
            events = await client.get_orchestration_history(instance_id)
            assert isinstance(events[-1], history.ExecutionCompletedEvent)
        finally:
            await client.close()


@pytest.mark.parametrize(("token", "said"), [("secret", "[3, 4]"), ("wrong", "UNAUTHENTICATED")])
def test_tls_and_a_credential(tmp_path: Path, token: str, said: str):
    files = certificates(tmp_path)["server"]
    tls = ("--grpc-cert", str(files.certificate), "--grpc-key", str(files.key))
    with grpc_server(tmp_path, *tls, "--grpc-token", "secret", "--store", "memory://") as server:
        port = server.address.rpartition(":")[2]
        ran = subprocess.run(
            [sys.executable, "-m", "tests.e2e.sdk_managed", f"localhost:{port}", token],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "ca.pem")},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert said in ran.stdout, ran.stdout + ran.stderr
