"""Decisions that come in several parts, or that are none: nothing of them is lost, and nothing is done before all is there."""

from typing import Any

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

import grpc  # noqa: E402 - without the extra these tests are skipped
from durabletask.internal import helpers  # noqa: E402
from google.protobuf.wrappers_pb2 import Int32Value  # noqa: E402

from perdure.protocol.answer_parts import Parts, whole_answer  # noqa: E402
from perdure.protocol.errors import InvalidDecisionError  # noqa: E402
from tests.unit.protocol_lab import text  # noqa: E402
from tests.unit.test_protocol_workers import complete, connected, decide, ended, kinds, serving, start  # noqa: E402


def activity(task_id: int, input_: str = "1") -> Any:
    return helpers.new_schedule_task_action(task_id, f"work{task_id}", input_, None)


def part(index: int | None, *actions: Any, last: bool = False, **fields: Any) -> Any:
    if index is not None:
        fields["chunkIndex"] = Int32Value(value=index)
    return pb.OrchestratorResponse(instanceId="i", isPartial=not last, actions=actions, **fields)


async def test_a_decision_in_parts_counts_when_its_last_part_is_there():
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        first: dict[str, Any] = {"isPartial": True, "chunkIndex": Int32Value(value=0), "customStatus": text('"busy"')}
        await decide(call, item, activity(1), **first)
        await decide(call, item, activity(2), isPartial=True, chunkIndex=Int32Value(value=1), numEventsProcessed=Int32Value())
        assert not (await call.state("i")).HasField("customStatus")
        await decide(call, item, activity(3), chunkIndex=Int32Value(value=2), numEventsProcessed=Int32Value())
        got = [(await worker.next()).activityRequest.name for _ in range(3)]
        assert sorted(got) == ["work1", "work2", "work3"]
        assert (await call.state("i")).customStatus.value == '"busy"'


async def test_parts_in_a_wrong_order_are_refused_and_the_decision_is_asked_for_again():
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        await decide(call, item, activity(1), isPartial=True, chunkIndex=Int32Value(value=0))
        with pytest.raises(grpc.aio.AioRpcError, match=r"part 2 of .* has come behind 1 others") as caught:
            await decide(call, item, activity(3), chunkIndex=Int32Value(value=2))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        again = await worker.next()
        assert kinds(again.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]
        await decide(call, again, complete())
        assert (await ended(call)).output.value == "1"


async def test_parts_that_never_come_to_an_end_go_with_their_worker():
    async with serving() as call:
        await start(call)
        async with connected(call) as worker:
            await decide(call, await worker.next(), activity(1), isPartial=True)
        async with connected(call) as worker:
            await decide(call, await worker.next(), complete())
        assert (await ended(call)).output.value == "1"


async def test_a_worker_that_lacks_the_history_gets_the_item_again():
    async with serving() as call, connected(call) as worker:
        await start(call)
        await decide(call, await worker.next(), requiresHistory=True)
        again = await worker.next()
        assert kinds(again.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]
        await decide(call, again, complete())
        assert (await ended(call)).output.value == "1"


@pytest.mark.parametrize("processed", [0, 1])
async def test_a_decision_that_has_seen_nothing_is_refused_and_asked_for_again(processed: int):
    async with serving() as call, connected(call) as worker:
        await start(call)
        with pytest.raises(grpc.aio.AioRpcError, match="it has seen 0 of 1 new events"):
            await decide(call, await worker.next(), numEventsProcessed=Int32Value(value=processed))
        again = await worker.next()
        assert kinds(again.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]


def test_the_parts_of_an_answer_are_not_larger_than_a_whole_one_may_be():
    parts: Parts = []
    assert whole_answer(parts, part(None, activity(1, "1" * 400)), 1000) is None
    with pytest.raises(InvalidDecisionError, match="more than 1000 bytes"):
        whole_answer(parts, part(None, activity(2, "1" * 600)), 1000)


def test_an_answer_has_not_more_parts_than_anybody_needs():
    parts: Parts = []
    for index in range(1000):
        assert whole_answer(parts, part(index), 1 << 30) is None
    with pytest.raises(InvalidDecisionError, match="more than 1000 parts"):
        whole_answer(parts, part(1000), 1 << 30)


def test_an_answer_in_one_part_is_itself():
    answer = part(None, activity(1), last=True)
    assert whole_answer([], answer, 1000) is answer
