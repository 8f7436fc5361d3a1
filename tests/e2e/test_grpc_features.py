"""What the Python SDK offers, feature by feature, on ``perdure serve``; ``README.md`` beside this says what is tested where."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.client")

import grpc
from durabletask import client as sdk
from durabletask import history, task
from durabletask import worker as sdk_worker
from durabletask.entities import EntityInstanceId
from durabletask.grpc_options import GrpcWorkerResiliencyOptions
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.payload import LargePayloadStorageOptions, PayloadStore
from durabletask.scheduled.client import ScheduledTaskClient
from durabletask.scheduled.models import ScheduleCreationOptions

from tests.certificates import certificates
from tests.e2e import sdk_programs as programs
from tests.e2e.grpc_server import grpc_server
from tests.e2e.sdk_lab import SILENT, Client, Status, client_at, finished, run, served_here, until, worker_at


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server that has a worker."""
    with grpc_server(tmp_path_factory.mktemp("hub")) as server, worker_at(server.address):
        yield server.address


@pytest.fixture
def client(address: str) -> Generator[Client]:
    with client_at(address) as made:
        yield made


def waiting(client: Client, instance_id: str, **options: Any) -> str:
    """A new instance that waits for an event that never comes."""
    client.schedule_new_orchestration("waits", input=["never"], instance_id=instance_id, **options)
    client.wait_for_orchestration_start(instance_id, timeout=30)
    return instance_id


# --- clients ----------------------------------------------------------------------------------------------------------


def test_a_start_may_be_scheduled(client: Client):
    start_at = datetime.now(UTC) + timedelta(seconds=1)
    instance_id = client.schedule_new_orchestration("empty", input=1, start_at=start_at)
    state = client.get_orchestration_state(instance_id)
    assert state is not None
    assert state.runtime_status is Status.PENDING
    assert finished(client, instance_id).get_output() == 1
    started = next(
        event for event in client.get_orchestration_history(instance_id) if isinstance(event, history.OrchestratorStartedEvent)
    )
    assert started.timestamp.replace(tzinfo=UTC) >= start_at


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.TERMINATED, Status.RUNNING])
def test_an_id_is_used_again_where_the_policy_says_so(client: Client, status: Status):
    instance_id = f"again-{status.name}"
    ends: dict[Status, Callable[[], Any]] = {
        Status.COMPLETED: lambda: run(client, "empty", instance_id=instance_id),
        Status.FAILED: lambda: run(client, "fails", "luck", instance_id=instance_id),
        Status.TERMINATED: lambda: client.terminate_orchestration(waiting(client, instance_id)),
        Status.RUNNING: lambda: waiting(client, instance_id),
    }
    ends[status]()
    others = [other for other in ends if other is not status]

    def again(replaceable: list[Status]) -> Any:
        policy = pb.OrchestrationIdReusePolicy(replaceableStatus=[other.value for other in replaceable])  # type: ignore[misc]
        return run(client, "empty", 2, instance_id=instance_id, reuse_id_policy=policy)

    with pytest.raises(grpc.RpcError) as refused:
        again(others)
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert again([status, others[0]]).get_output() == 2


def test_terminating_leaves_children_alone_unless_asked(client: Client):
    instance_id = client.schedule_new_orchestration("parent_of_waiting", instance_id="left-alone")
    client.wait_for_orchestration_start("left-alone:0001", timeout=30)
    until(lambda: client.get_orchestration_state("left-alone:0001"))
    client.terminate_orchestration(instance_id, recursive=False)
    assert finished(client, instance_id).runtime_status is Status.TERMINATED
    state = client.get_orchestration_state("left-alone:0001")
    assert state is not None
    assert state.runtime_status is Status.RUNNING


def test_purging_takes_children_along_where_asked(client: Client):
    for recursive in (True, False):
        instance_id = f"purged-{recursive}"
        run(client, "grandparent", instance_id=instance_id)
        deleted = client.purge_orchestration(instance_id, recursive=recursive).deleted_instance_count
        assert deleted == (4 if recursive else 1)
        assert (client.get_orchestration_state(f"{instance_id}-p") is None) == recursive


def test_purging_by_time_and_status(client: Client):
    before = datetime.now(UTC)
    run(client, "empty", instance_id="swept-1")
    run(client, "fails", "luck", instance_id="swept-2")
    waiting(client, "swept-3")
    options: dict[str, Any] = {"created_time_from": before, "created_time_to": datetime.now(UTC)}
    assert client.purge_orchestrations_by(**options, runtime_status=[Status.FAILED]).deleted_instance_count == 1
    result = client.purge_orchestrations_by(**options, timeout=timedelta(seconds=30))
    assert (result.deleted_instance_count, result.is_complete) == (1, True)
    assert client.get_orchestration_state("swept-3") is not None


def test_restarting_with_the_same_and_with_a_new_id(client: Client):
    run(client, "chain", 3, instance_id="restarted", tags={"team": "red"})
    new_id = client.restart_orchestration("restarted", restart_with_new_instance_id=True)
    assert new_id != "restarted"
    assert finished(client, new_id).get_output() == 3
    assert client.restart_orchestration("restarted") == "restarted"
    assert finished(client, "restarted").get_output() == 3


def test_rewinding_goes_down_to_the_child_that_has_failed(client: Client):
    client.schedule_new_orchestration("parent_of_told", input="deep", instance_id="rewound")
    assert finished(client, "rewound").runtime_status is Status.FAILED
    programs.ATTEMPTS["told deep"] = 1
    client.rewind_orchestration("rewound", reason="fixed")
    until(lambda: finished(client, "rewound").runtime_status is Status.COMPLETED)
    assert finished(client, "rewound").get_output() == [1, "good", "good"]
    assert finished(client, "rewound-child").runtime_status is Status.COMPLETED


def test_queries(client: Client):
    before = datetime.now(UTC)
    for number in range(5):
        run(client, "empty", number, instance_id=f"asked-{number}")
    waiting(client, "asked-9", tags={"team": "red"})
    after = datetime.now(UTC)

    def ids(**options: Any) -> list[str]:
        query = sdk.OrchestrationQuery(instance_id_prefix="asked-", **options)
        return [state.instance_id for state in client.get_all_orchestration_states(query)]

    completed = [f"asked-{number}" for number in range(5)]
    assert ids() == [*completed, "asked-9"]
    assert ids(max_instance_count=2) == ids()
    assert ids(runtime_status=[Status.RUNNING]) == ["asked-9"]
    assert ids(runtime_status=[Status.COMPLETED, Status.FAILED]) == completed
    assert ids(created_time_from=before, created_time_to=after) == ids()
    assert ids(created_time_from=after + timedelta(seconds=1)) == []
    query = sdk.OrchestrationQuery(instance_id_prefix="asked-", fetch_inputs_and_outputs=True)
    states = {state.instance_id: state for state in client.get_all_orchestration_states(query)}
    assert states["asked-3"].get_output() == 3
    assert client.get_all_orchestration_states(sdk.OrchestrationQuery(instance_id_prefix="asked-3"))[0].serialized_output is None


def test_ids_of_what_has_ended_page_by_page(tmp_path: Path):
    with grpc_server(tmp_path) as server, worker_at(server.address), client_at(server.address) as client:
        ended = [run(client, "empty", instance_id=f"listed-{number}").instance_id for number in (3, 1, 2)]
        waiting(client, "listed-9")
        found: list[str] = []
        token: str | None = None
        while True:
            page = client.list_instance_ids(page_size=2, continuation_token=token)
            found += page.items
            token = page.continuation_token
            if token is None:
                break
        assert found == ended
        assert client.list_instance_ids(runtime_status=[Status.FAILED]).items == []


def test_a_long_history_comes_in_pieces(client: Client):
    run(client, "chain", 150, instance_id="long")
    events = client.get_orchestration_history("long")
    assert sum(isinstance(event, history.TaskCompletedEvent) for event in events) == 150
    assert isinstance(events[-1], history.ExecutionCompletedEvent)


async def test_the_async_client(address: str):
    client = sdk.AsyncTaskHubGrpcClient(host_address=address, logger=SILENT)
    try:
        instance_id = await client.schedule_new_orchestration("waits", input=["a"], tags={"team": "red"})
        await client.wait_for_orchestration_start(instance_id, timeout=30)
        await client.suspend_orchestration(instance_id, reason="wait")
        await client.resume_orchestration(instance_id)
        await client.raise_orchestration_event(instance_id, "a", data=1)
        state = await client.wait_for_orchestration_completion(instance_id, timeout=30)
        assert state is not None
        assert state.get_output() == [1]
        assert len(await client.get_orchestration_history(instance_id)) > 5
        assert (await client.purge_orchestration(instance_id)).deleted_instance_count == 1
    finally:
        await client.close()


# --- entities ---------------------------------------------------------------------------------------------------------


def test_a_signal_may_be_scheduled(client: Client):
    entity = EntityInstanceId("counter", "later")
    at = datetime.now(UTC) + timedelta(seconds=1)
    client.signal_entity(entity, "add", input=1, signal_time=at)
    client.signal_entity(EntityInstanceId("counter", "sooner"), "add", input=1)
    until(lambda: client.get_entity(EntityInstanceId("counter", "sooner")))
    assert datetime.now(UTC) > at or client.get_entity(entity) is None
    found = until(lambda: client.get_entity(entity))
    assert found.last_modified.replace(tzinfo=UTC) >= at


def test_entities_are_found_and_cleaned_up(client: Client):
    for key in ("x1", "x2", "y1"):
        client.signal_entity(EntityInstanceId("counter", key), "add", input=1)

    def keys(prefix: str, **options: Any) -> list[str]:
        query = sdk.EntityQuery(instance_id_starts_with=prefix, **options)
        return [entity.id.key for entity in client.get_all_entities(query)]

    until(lambda: keys("@counter@x") == ["x1", "x2"])
    assert keys("@counter@x", page_size=1) == ["x1", "x2"]
    (found,) = client.get_all_entities(sdk.EntityQuery(instance_id_starts_with="@counter@x1", include_state=False))
    assert found.get_state() is None
    locker = client.schedule_new_orchestration("locks_for_ever", input="x1")
    # Who has it is an orchestration, which the SDK's own accessor takes for an entity, and raises.
    until(lambda: _locked_by(client, "x1") == locker)
    client.terminate_orchestration(locker)
    finished(client, locker)
    until(lambda: not _locked_by(client, "x1"))
    assert client.clean_entity_storage() == sdk.CleanEntityStorageResult(0, 0)  # it had let go at its end


def _locked_by(client: Client, key: str) -> str:
    found = client.get_entity(EntityInstanceId("counter", key))
    return "" if found is None else found._locked_by or ""  # noqa: SLF001


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_gets_no_more_than_it_can_take(tmp_path: Path):
    running, most, gate = [0], [0], threading.Lock()

    def counted(_: task.ActivityContext, __: Any) -> None:
        with gate:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with gate:
            running[0] -= 1

    def many(context: task.OrchestrationContext, _: Any):
        yield task.when_all([context.call_activity(counted) for _ in range(40)])

    def prepare(worker: Any) -> None:
        worker.add_orchestrator(many)
        worker.add_activity(counted)

    limits = sdk_worker.ConcurrencyOptions(maximum_concurrent_activity_work_items=3, maximum_thread_pool_workers=20)
    with (
        grpc_server(tmp_path) as server,
        worker_at(server.address, prepare, concurrency_options=limits),
        client_at(server.address) as client,
    ):
        assert run(client, "many").runtime_status is Status.COMPLETED
    assert most[0] == 3


def test_filters_share_the_work_by_names(tmp_path: Path):
    done: dict[str, set[str]] = {"one": set(), "other": set()}

    def worker(name: str, activity: str) -> Callable[[Any], None]:
        def work(context: task.ActivityContext, _: Any) -> str:
            done[name].add(f"{context.orchestration_id}/{context.task_id}")
            return name

        work.__name__ = activity

        def both(context: task.OrchestrationContext, _: Any):
            return [(yield context.call_activity("left")), (yield context.call_activity("right"))]

        def prepare(made: Any) -> None:
            made.add_activity(work)
            if name == "one":
                made.add_orchestrator(both)
            made.use_work_item_filters()

        return prepare

    with (
        grpc_server(tmp_path) as server,
        worker_at(server.address, worker("one", "left")),
        worker_at(server.address, worker("other", "right")),
        client_at(server.address) as client,
    ):
        for _ in range(10):
            assert run(client, "both").get_output() == ["one", "other"]
    assert (len(done["one"]), len(done["other"])) == (10, 10)


@pytest.mark.parametrize(("version", "status"), [("1.5", Status.COMPLETED), ("2.0", Status.COMPLETED), ("2.1", Status.FAILED)])
def test_a_worker_fails_versions_that_are_newer(tmp_path: Path, version: str, status: Status):
    def prepare(worker: Any) -> None:
        programs.register(worker)
        worker.use_versioning(
            sdk_worker.VersioningOptions(
                version="2.0",
                match_strategy=sdk_worker.VersionMatchStrategy.CURRENT_OR_OLDER,
                failure_strategy=sdk_worker.VersionFailureStrategy.FAIL,
            )
        )

    with grpc_server(tmp_path) as server, worker_at(server.address, prepare), client_at(server.address) as client:
        state = run(client, "versioned", version=version)
        assert state.runtime_status is status
        if status is Status.FAILED:
            assert state.failure_details is not None
            assert state.failure_details.error_type == "VersionMismatch"


def test_a_worker_without_work_stays_connected():
    """The SDK takes silence for a broken connection; the server says now and then that it is there."""
    options = GrpcWorkerResiliencyOptions(silent_disconnect_timeout_seconds=0.5)
    with (
        served_here(health_ping=timedelta(milliseconds=100)) as address,
        worker_at(address, resiliency_options=options) as worker,
        client_at(address) as client,
    ):
        stream = until(lambda: worker._response_stream)  # noqa: SLF001
        time.sleep(1.5)
        assert worker._response_stream is stream  # noqa: SLF001
        assert run(client, "chain", 3).get_output() == 3


def test_schedules(tmp_path: Path):
    def prepare(worker: Any) -> None:
        programs.register(worker)
        worker.configure_scheduled_tasks()

    with grpc_server(tmp_path) as server, worker_at(server.address, prepare), client_at(server.address) as client:
        schedules = ScheduledTaskClient(client, operation_timeout=30)
        schedule = schedules.create_schedule(ScheduleCreationOptions("s", "empty", timedelta(seconds=1), orchestration_input=7))

        def ran() -> list[Any]:
            query = sdk.OrchestrationQuery(fetch_inputs_and_outputs=True, instance_id_prefix="s-")
            return [state.get_output() for state in client.get_all_orchestration_states(query)]

        until(lambda: ran()[:2] == [7, 7])
        schedule.pause()
        assert [found.schedule_id for found in schedules.list_schedules()] == ["s"]
        schedule.delete()
        until(lambda: schedules.get_schedule("s") is None)


class Cupboard(PayloadStore):
    """Keeps large payloads elsewhere."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    @property
    def options(self) -> LargePayloadStorageOptions:
        return LargePayloadStorageOptions(threshold_bytes=1000, enable_compression=False)

    def upload(self, data: bytes, *, instance_id: str | None = None) -> str:
        token = f"cupboard:{len(self.kept)}"
        self.kept[token] = data
        return token

    async def upload_async(self, data: bytes, *, instance_id: str | None = None) -> str:
        return self.upload(data, instance_id=instance_id)

    def download(self, token: str) -> bytes:
        return self.kept[token]

    async def download_async(self, token: str) -> bytes:
        return self.kept[token]

    def is_known_token(self, value: str) -> bool:
        return value.startswith("cupboard:")


def test_large_payloads_may_lie_elsewhere(tmp_path: Path):
    cupboard = Cupboard()
    with (
        grpc_server(tmp_path) as server,
        worker_at(server.address, payload_store=cupboard),
        client_at(server.address, payload_store=cupboard) as client,
        client_at(server.address) as plain,
    ):
        state = run(client, "empty", "x" * 5000)
        assert state.get_output() == "x" * 5000
        kept = plain.get_orchestration_state(state.instance_id)
        assert kept is not None
        assert kept.serialized_output is not None
        assert kept.serialized_output.startswith("cupboard:")


def test_mutual_tls(tmp_path: Path):
    files = certificates(tmp_path)["mutual"]
    tls = ("--grpc-cert", str(files.certificate), "--grpc-key", str(files.key), "--grpc-client-ca", str(files.client_ca))
    authority = (tmp_path / "ca.pem").read_bytes()
    key, certificate = (tmp_path / "client.key").read_bytes(), (tmp_path / "client.pem").read_bytes()
    with grpc_server(tmp_path, *tls) as server, ExitStack() as open_channels:
        target = f"localhost:{server.address.rpartition(':')[2]}"

        def channel(*pair: bytes) -> grpc.Channel:
            return open_channels.enter_context(grpc.secure_channel(target, grpc.ssl_channel_credentials(authority, *pair)))

        with (
            worker_at(target, channel=channel(key, certificate)),
            client_at(target, channel=channel(key, certificate)) as known,
            client_at(target, channel=channel()) as unknown,
        ):
            assert run(known, "chain", 3).get_output() == 3
            with pytest.raises(grpc.RpcError) as refused:
                unknown.get_orchestration_state("i")
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
