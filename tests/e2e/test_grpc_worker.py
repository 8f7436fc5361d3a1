"""Microsoft's Python SDK, unmodified: its workers and clients on ``perdure serve``."""

import random
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("durabletask.client")

from durabletask import history
from durabletask import worker as sdk_worker
from durabletask.entities import EntityInstanceId

from tests.e2e import sdk_programs as programs
from tests.e2e.grpc_server import grpc_server
from tests.e2e.sdk_lab import Client, Status, client_at, run, until, worker_at, worker_process


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Client, str]]:
    """A client of a server that has a worker, and the server's address."""
    with (
        grpc_server(tmp_path_factory.mktemp("hub")) as server,
        worker_at(server.address),
        client_at(server.address) as client,
    ):
        yield client, server.address


# --- what users do ----------------------------------------------------------------------------------------------------


def test_events_reach_code_that_waits_and_code_that_will(place: tuple[Client, str]):
    client, _ = place
    early = client.schedule_new_orchestration("waits", input=["A", "b", "a"])
    for name, data in (("b", 1), ("a", 2), ("A", 3)):
        client.raise_orchestration_event(early, name, data=data)
    state = client.wait_for_orchestration_completion(early, timeout=30)
    assert state is not None
    assert (state.get_output(), state.get_custom_status()) == ([2, 1, 3], 3)


def test_the_first_of_two_wins(place: tuple[Client, str]):
    client, _ = place
    instance_id = client.schedule_new_orchestration("first_of")
    client.wait_for_orchestration_start(instance_id, timeout=30)
    client.raise_orchestration_event(instance_id, "go", data="fast")
    state = client.wait_for_orchestration_completion(instance_id, timeout=30)
    assert state is not None
    assert state.get_output() == "fast"


def test_continue_as_new_loses_no_event(place: tuple[Client, str]):
    client, _ = place
    instance_id = client.schedule_new_orchestration("collects", input=[])
    for number in range(5):
        client.raise_orchestration_event(instance_id, "item", data=number)
    state = client.wait_for_orchestration_completion(instance_id, timeout=30)
    assert state is not None
    assert state.get_output() == [0, 1, 2, 3, 4]


def test_orchestrations_send_events_to_each_other(place: tuple[Client, str]):
    client, _ = place
    target = client.schedule_new_orchestration("waits", input=["hello"])
    sender = run(client, "sends", target)
    state = client.wait_for_orchestration_completion(target, timeout=30)
    assert state is not None
    assert state.get_output() == [{"from": sender.instance_id}]


def test_suspending_twice_keeps_events_until_resumed(place: tuple[Client, str]):
    client, _ = place
    instance_id = client.schedule_new_orchestration("waits", input=["a", "b"])
    client.wait_for_orchestration_start(instance_id, timeout=30)
    client.suspend_orchestration(instance_id)
    client.suspend_orchestration(instance_id)
    client.raise_orchestration_event(instance_id, "a", data=1)
    client.raise_orchestration_event(instance_id, "b", data=2)
    state = client.get_orchestration_state(instance_id)
    assert state is not None
    assert state.runtime_status is Status.SUSPENDED
    client.resume_orchestration(instance_id)
    state = client.wait_for_orchestration_completion(instance_id, timeout=30)
    assert state is not None
    assert state.get_output() == [1, 2]


def test_terminating_ends_children_too(place: tuple[Client, str]):
    client, _ = place
    instance_id = client.schedule_new_orchestration("parent_of_waiting")
    child_id = until(lambda: next(iter(_children(client, instance_id)), None))
    client.terminate_orchestration(instance_id, output="enough", recursive=True)
    state = client.wait_for_orchestration_completion(instance_id, timeout=30)
    assert state is not None
    assert (state.runtime_status, state.get_output()) == (Status.TERMINATED, "enough")
    state = client.wait_for_orchestration_completion(child_id, timeout=30)
    assert state is not None
    assert state.runtime_status is Status.TERMINATED


def _children(client: Client, instance_id: str) -> list[str]:
    events = client.get_orchestration_history(instance_id)
    return [event.instance_id for event in events if isinstance(event, history.SubOrchestrationInstanceCreatedEvent)]


def test_rewind_does_failed_work_again(place: tuple[Client, str]):
    client, _ = place
    state = run(client, "fails_until_told", "r1")
    assert state.runtime_status is Status.FAILED
    programs.ATTEMPTS["told r1"] = 1
    client.rewind_orchestration(state.instance_id, reason="fixed")
    state = client.wait_for_orchestration_completion(state.instance_id, timeout=30)
    assert state is not None
    assert (state.runtime_status, state.get_output()) == (Status.COMPLETED, [1, "good", "good"])


def test_children_know_their_parent(place: tuple[Client, str]):
    client, _ = place
    state = run(client, "parent_of_knowing")
    assert state.get_output() == state.instance_id


def test_versions_are_seen_by_the_code(place: tuple[Client, str]):
    client, _ = place
    assert run(client, "versioned", version="2.1").get_output() == "2.1"


def test_entities_are_called_signaled_and_locked(place: tuple[Client, str]):
    client, _ = place
    assert run(client, "counts", "c1").get_output() == [5, True, 5]
    pair = ["m1", "m2"]
    states = [client.schedule_new_orchestration("moves", input=pair if number % 2 else pair[::-1]) for number in range(10)]
    for instance_id in states:
        state = client.wait_for_orchestration_completion(instance_id, timeout=60)
        assert state is not None
        assert state.runtime_status is Status.COMPLETED, state.failure_details
    values = [client.get_entity(EntityInstanceId("counter", key)) for key in pair]
    assert [value.get_state(int) for value in values if value is not None] == [0, 0]
    until(
        lambda: all((found := client.get_entity(EntityInstanceId("counter", key))) and not found.get_locked_by() for key in pair)
    )


def test_entities_signal_each_other_start_orchestrations_and_go(place: tuple[Client, str]):
    client, _ = place
    entity = EntityInstanceId("counter", "e1")
    client.signal_entity(entity, "add", input=4)
    client.signal_entity(entity, "tell", input="e2")
    client.signal_entity(entity, "start", input="started-by-entity")
    client.signal_entity(entity, "fail")
    client.signal_entity(entity, "delete")

    def of(key: str) -> Any:
        found = client.get_entity(EntityInstanceId("counter", key))
        return None if found is None else found.get_state(int)

    until(lambda: of("e2") == 1)
    until(lambda: client.get_entity(entity) is None)
    until(lambda: client.get_orchestration_state("started-by-entity"))
    state = client.wait_for_orchestration_completion("started-by-entity", timeout=30)
    assert state is not None
    assert state.get_output() == "started-by-entity"


# --- several workers, and accidents -----------------------------------------------------------------------------------


def test_a_worker_that_rejects_a_version_leaves_it_to_another_one(tmp_path: Path):
    def strict(version: str) -> Callable[[Any], None]:
        def prepare(worker: Any) -> None:
            programs.register(worker)
            worker.use_versioning(
                sdk_worker.VersioningOptions(
                    version=version,
                    match_strategy=sdk_worker.VersionMatchStrategy.STRICT,
                    failure_strategy=sdk_worker.VersionFailureStrategy.REJECT,
                )
            )

        return prepare

    with (
        grpc_server(tmp_path) as server,
        worker_at(server.address, strict("1")),
        worker_at(server.address, strict("2")),
        client_at(server.address) as client,
    ):
        ids = [client.schedule_new_orchestration("versioned", version=str(number % 2 + 1)) for number in range(6)]
        for number, instance_id in enumerate(ids):
            state = client.wait_for_orchestration_completion(instance_id, timeout=60)
            assert state is not None
            assert state.get_output() == str(number % 2 + 1)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_killing_workers_in_the_middle_loses_nothing(tmp_path: Path):
    notes = tmp_path / "notes"
    luck = random.Random(1)
    with grpc_server(tmp_path) as server, client_at(server.address) as client:
        ids = [client.schedule_new_orchestration("notes", input=[str(notes), 30]) for _ in range(10)]
        for _ in range(4):
            with worker_process(server.address):
                time.sleep(luck.uniform(0.3, 1.5))
        with worker_process(server.address):
            _all_complete(client, ids, 30)
    _noted(notes, ids, 30)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_killing_the_server_in_the_middle_loses_nothing(tmp_path: Path):
    notes = tmp_path / "notes"
    luck = random.Random(2)
    with grpc_server(tmp_path) as server, worker_process(server.address), client_at(server.address) as client:
        ids = [client.schedule_new_orchestration("notes", input=[str(notes), 30]) for _ in range(10)]
        for _ in range(3):
            time.sleep(luck.uniform(0.3, 1.5))
            server.kill()
            server.start()
        _all_complete(client, ids, 30)
        assert server.stop() == 0
    _noted(notes, ids, 30)


def _all_complete(client: Client, ids: list[str], output: Any) -> None:
    for instance_id in ids:
        state = until(lambda: _ended(client, instance_id))  # noqa: B023 - called at once
        assert (state.runtime_status, state.get_output()) == (Status.COMPLETED, output), state.failure_details


def _ended(client: Client, instance_id: str) -> Any:
    state = client.get_orchestration_state(instance_id)
    return state if state is not None and state.runtime_status is Status.COMPLETED else None


def _noted(notes: Path, ids: list[str], length: int) -> None:
    """Every activity has run, at least once; and each began only when the one before was there."""
    lines = notes.read_text().split("\n")[:-1]
    for instance_id in ids:
        numbers = [int(line.split()[1]) for line in lines if line.startswith(instance_id)]
        assert set(numbers) == set(range(length))
        assert numbers == sorted(numbers)
    again = sum(count - 1 for count in Counter(lines).values())
    assert again < len(ids) * 20
