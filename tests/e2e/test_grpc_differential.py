"""The same programs on the backend that the SDK ships (in memory) and on ``perdure serve``: the same comes out, and happens."""

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("durabletask.client")

from durabletask import history

from tests.e2e import sdk_programs as programs
from tests.e2e.grpc_server import grpc_server
from tests.e2e.sdk_lab import Client, Status, client_at, finished, sdk_backend, until, worker_at

Steps = Callable[[Client, str], None]
Event = dict[str, Any]


# --- what is different, and why ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Something that is taken out of both histories before they are compared."""

    why: str
    change: Callable[[Event], Event]
    case: str
    """Where it can be seen."""


def _everywhere(change: Callable[[str, Any], Any]) -> Callable[[Event], Event]:
    """Gives every field a new value, also inside others."""

    def changed(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {inner: changed(inner, item) for inner, item in value.items()}
        return change(name, value)

    return lambda event: {name: changed(name, value) for name, value in event.items()}


def _without(kind: str, field_name: str, *inner: str) -> Callable[[Event], Event]:
    """Drops a field of one kind of event, or parts of it."""

    def change(event: Event) -> Event:
        value = event.get(field_name)
        if event["kind"] != kind or value is None:
            return event
        return {**event, field_name: {name: item for name, item in value.items() if name not in inner} if inner else None}

    return change


DIFFERENCES = (
    Difference(
        "what isn't given is null on Perdure; the backend has an empty text for it in some places",
        _everywhere(lambda _, value: value or None),
        "nothing",
    ),
    Difference(
        "every execution has an id on Perdure; the backend shows it in some places only",
        _everywhere(lambda name, value: None if name in ("execution_id", "parent_execution_id") else value),
        "nothing",
    ),
    Difference(
        "the failure of a child is its own on Perdure; the backend keeps the message of it",
        _without("SubOrchestrationInstanceFailed", "failure_details", "error_type", "stack_trace", "inner_failure"),
        "failing child",
    ),
    Difference(
        "so is the cause of the parent's failure",
        _without("ExecutionCompleted", "failure_details", "inner_failure"),
        "child retried in vain",
    ),
    Difference(
        "a child knows its parent on Perdure; the backend doesn't tell it",
        _without("ExecutionStarted", "parent_instance"),
        "children",
    ),
    Difference(
        "children get the tags of their parent on Perdure",
        _without("ExecutionStarted", "tags"),
        "tags and versions",
    ),
    Difference(
        "tags of an activity are in the history on Perdure",
        _without("TaskScheduled", "tags"),
        "tags and versions",
    ),
    Difference(
        "terminating takes the children along on Perdure where that is asked for; the backend can't",
        _without("ExecutionTerminated", "recurse"),
        "terminated",
    ),
)


# --- programs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    program: str
    input: Any = None
    steps: Steps | None = None
    """What the client does between start and end."""
    ordered: bool = True
    """Whether the program gives the order of events; else it is work that runs at the same time."""
    turns: bool = True
    """Whether it gives the turns, too. On Perdure there is none between suspending and resuming: no code would run in it."""
    options: dict[str, Any] = field(default_factory=dict)


def begun(client: Client, instance_id: str) -> None:
    client.wait_for_orchestration_start(instance_id, timeout=30)


def _events(*names: str) -> Steps:
    def steps(client: Client, instance_id: str) -> None:
        begun(client, instance_id)
        for number, name in enumerate(names):
            client.raise_orchestration_event(instance_id, name, data={"number": number})
            until(lambda: client.get_orchestration_state(instance_id).serialized_custom_status == str(number + 1))  # type: ignore[union-attr]  # noqa: B023

    return steps


def _suspended(client: Client, instance_id: str) -> None:
    begun(client, instance_id)
    client.suspend_orchestration(instance_id, reason="lunch")
    until(lambda: client.get_orchestration_state(instance_id).runtime_status is Status.SUSPENDED)  # type: ignore[union-attr]
    client.resume_orchestration(instance_id, reason="coffee")
    until(lambda: client.get_orchestration_state(instance_id).runtime_status is Status.RUNNING)  # type: ignore[union-attr]
    client.raise_orchestration_event(instance_id, "a", data=1)


def _terminated(client: Client, instance_id: str) -> None:
    begun(client, instance_id)
    client.terminate_orchestration(instance_id, output={"why": "enough"})


def _rewound(client: Client, instance_id: str) -> None:
    finished(client, instance_id)
    programs.ATTEMPTS["told rewound"] = 1
    client.rewind_orchestration(instance_id, reason="fixed")
    until(lambda: client.get_orchestration_state(instance_id).runtime_status is Status.COMPLETED)  # type: ignore[union-attr]


def _restarted(client: Client, instance_id: str) -> None:
    finished(client, instance_id)
    client.restart_orchestration(instance_id)


CASES = {
    "nothing": Case("empty"),
    "json": Case("empty", {"a": [1, None, "ü", 1.5, True]}),
    "empty text": Case("empty", ""),
    "zero": Case("empty", 0),
    "types": Case("reads_json", [[1], {"b": None}]),
    "one step": Case("chain", 1),
    "ten steps": Case("chain", 10),
    "one of one": Case("fan_out", 1),
    "fifty": Case("fan_out", 50, ordered=False),
    "timer": Case("sleeps", 50),
    "failure": Case("fails", "luck"),
    "caught": Case("catches", "luck"),
    "first attempt": Case("retries", 1),
    "third attempt": Case("retries", 3),
    "out of attempts": Case("retries", 4),
    "children": Case("parent", 3, ordered=False),
    "grandchildren": Case("grandparent", ordered=False),
    "failing child": Case("parent_of_failing"),
    "child retried": Case("retries_child", 3),
    "child retried in vain": Case("retries_child", 4),
    "again and again": Case("counts_down", 3),
    "new versions": Case("renews", 2, options={"version": "0.1"}),
    "ids": Case("identifies"),
    "no such orchestrator": Case("no such orchestrator"),
    "no such activity": Case("calls_nobody"),
    "no such child": Case("parent_of_nobody"),
    "tags and versions": Case("tagged", options={"tags": {"team": "red"}, "version": "1.0"}),
    "the first one": Case("takes_the_first"),
    "left open": Case("leaves_open"),
    "some fail": Case("fails_after_all", ordered=False),
    "to itself": Case("tells_itself"),
    "events": Case("waits", ["a", "B", "a"], _events("a", "b", "A")),
    "suspended": Case("waits", ["a"], _suspended, turns=False),
    "terminated": Case("waits", ["a"], _terminated),
    "rewound": Case("fails_until_told", "rewound", _rewound, ordered=False),
    "restarted": Case("chain", 2, _restarted),
    "entity signaled": Case("signals_only", "diff-1"),
    "entity called": Case("asks_entity", "diff-2"),
    "entity fails": Case("asks_in_vain", "diff-3"),
    "entity called, signaled, failing": Case("counts", "diff-4"),
    "entities locked": Case("moves", ["diff-5", "diff-6"]),
}


# --- comparison -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Client, Client]]:
    """A client of each, with the same worker."""
    with (
        grpc_server(tmp_path_factory.mktemp("hub")) as server,
        sdk_backend() as backend,
        worker_at(server.address),
        worker_at(backend),
        client_at(server.address) as ours,
        client_at(backend) as theirs,
    ):
        yield ours, theirs


@pytest.mark.parametrize("name", CASES)
def test_a_program_comes_out_as_on_the_backend_of_the_sdk(both: tuple[Client, Client], name: str):
    ours, theirs = (_observed(client, name) for client in both)
    assert ours == theirs


@pytest.mark.parametrize("index", range(len(DIFFERENCES)))
def test_no_difference_is_listed_that_is_none(both: tuple[Client, Client], index: int):
    others = DIFFERENCES[:index] + DIFFERENCES[index + 1 :]
    ours, theirs = (_observed(client, DIFFERENCES[index].case, f"{index}", others) for client in both)
    assert ours != theirs


def _observed(client: Client, name: str, suffix: str = "", differences: Sequence[Difference] = DIFFERENCES) -> dict[str, Any]:
    case = CASES[name]
    programs.ATTEMPTS.clear()
    instance_id = "diff-" + re.sub(r"\W+", "-", name) + suffix  # failures name it
    client.schedule_new_orchestration(case.program, input=case.input, instance_id=instance_id, **case.options)
    if case.steps is not None:
        case.steps(client, instance_id)
    finished(client, instance_id)
    return _instance(client, instance_id, case, differences)


def _instance(client: Client, instance_id: str, case: Case, differences: Sequence[Difference]) -> dict[str, Any]:
    """An instance and its children, as far as they can be the same."""
    state = finished(client, instance_id)
    failure = state.failure_details
    events = client.get_orchestration_history(instance_id)
    return {
        "status": state.runtime_status,
        "output": state.serialized_output or None,
        "custom status": state.serialized_custom_status,
        "failure": None if failure is None else (failure.error_type, failure.message),
        "history": _comparable(events, case, differences),
        "children": [
            _instance(client, event.instance_id, case, differences)
            for event in events
            if isinstance(event, history.SubOrchestrationInstanceCreatedEvent)
        ],
    }


def _comparable(events: Sequence[history.HistoryEvent], case: Case, differences: Sequence[Difference]) -> list[Event]:
    found = [{"kind": type(event).__name__.removesuffix("Event"), **event.to_dict()} for event in events]
    if not (case.ordered and case.turns):
        # A turn takes what is there when it begins.
        found = [event for event in found if not event["kind"].startswith("Orchestrator")]
    for difference in differences:
        found = [difference.change(event) for event in found]
    seen: dict[str, str] = {}
    found = [_plain(event, seen) for event in found]
    return found if case.ordered else sorted(found, key=str)


_RANDOM = ("request_id", "critical_section_id", "execution_id", "parent_execution_id")
_TIMES = ("timestamp", "fire_at", "scheduled_time", "scheduled_start_timestamp")


def _plain(value: Any, seen: dict[str, str]) -> Any:
    """Without times; ids that are random are numbered in the order in which they come."""
    if isinstance(value, dict):
        return {
            key: seen.setdefault(item, f"id {len(seen)}") if key in _RANDOM and item else _plain(item, seen)
            for key, item in value.items()
            if key not in _TIMES
        }
    return value
