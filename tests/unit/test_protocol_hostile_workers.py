"""Workers who mean no good, or have bugs: what they answer is refused or carried out, and nothing is lost either way."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from durabletask.internal import helpers  # noqa: E402 - without the extra these tests are skipped
from google.protobuf.timestamp_pb2 import Timestamp  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from perdure.protocol.service import SERVICE  # noqa: E402
from tests.unit.protobuf_strategies import messages  # noqa: E402
from tests.unit.protocol_lab import Caller, text  # noqa: E402
from tests.unit.test_protocol_workers import complete, connected, decide, decision, ended, serving, start  # noqa: E402

ANSWERS = sorted(method.name for method in SERVICE.methods if method.name.startswith(("Complete", "Abandon")))
ENTITY = "@counter@a"


def request_of(rpc: str) -> Any:
    return getattr(pb, SERVICE.methods_by_name[rpc].input_type.name)


@pytest.mark.parametrize("rpc", ANSWERS)
async def test_what_is_no_message_is_refused(rpc: str):
    async with serving() as call:
        code, message = await call.refusal(rpc, b"\xff\xff")
        assert (code, message.startswith("[PD4402]")) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("rpc", ANSWERS)
async def test_a_guessed_token_opens_nothing(rpc: str):
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        for token in ("", "0", "\x00", item.completionToken[:-1], item.completionToken.upper() + "x", "a" * 100_000):
            code, _ = await call.refusal(rpc, request_of(rpc)(completionToken=token))
            assert code == "NOT_FOUND"
        await decide(call, item, complete("7"))
        assert (await ended(call)).output.value == "7"


@pytest.mark.parametrize("rpc", ["CompleteActivityTask", "CompleteEntityTask"])
async def test_a_token_opens_nothing_of_another_kind(rpc: str):
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        assert (await call.refusal(rpc, request_of(rpc)(completionToken=item.completionToken)))[0] == "NOT_FOUND"
        await decide(call, item, complete())
        assert (await ended(call)).orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED


async def test_answers_for_what_has_been_terminated_or_purged_change_nothing():
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        await call("TerminateInstance", pb.TerminateRequest(instanceId="i", output=text('"gone"')))
        assert (await call.refusal("CompleteOrchestratorTask", decision(item, complete())))[0] == "NOT_FOUND"
        assert (await ended(call)).output.value == '"gone"'
        await call("PurgeInstances", pb.PurgeInstancesRequest(instanceId="i"))
        assert (await call.refusal("CompleteOrchestratorTask", decision(item, complete())))[0] == "NOT_FOUND"
        assert await call.state("i") is None


async def test_streams_come_and_go():
    async with serving() as call:
        await start(call)
        for _ in range(20):
            async with connected(call), connected(call), connected(call) as last:
                del last
        async with connected(call) as worker:
            item = await worker.next()
            await decide(call, item, complete())
            assert (await ended(call)).orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED


async def test_answers_are_taken_however_many_calls_there_are():
    async with serving(max_concurrent_calls=3) as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        wait = pb.GetInstanceRequest(instanceId="i")
        waiting = {asyncio.create_task(call.outcome("WaitForInstanceCompletion", wait)) for _ in range(6)}
        while len(waiting) > 2:
            refused, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result()[0] for task in refused} == {"RESOURCE_EXHAUSTED"}
        await decide(call, item, complete())
        assert [code for code, _ in await asyncio.gather(*waiting)] == ["OK", "OK"]


NUL = "a\0b"
UNKEPT: dict[str, dict[str, Any]] = {
    "activity": {"actions": [helpers.new_schedule_task_action(1, NUL, None, {})]},
    "child": {"actions": [helpers.new_create_sub_orchestration_action(1, NUL, "c", None, None)]},
    "version of a child": {"actions": [helpers.new_create_sub_orchestration_action(1, "n", "c", None, NUL)]},
    "target of an event": {"actions": [helpers.new_send_event_action(1, NUL, "n", None)]},
    "custom status": {"actions": [], "customStatus": text(NUL)},
    "time of a span": {
        "actions": [],
        "orchestrationTraceContext": pb.OrchestrationTraceContext(spanID=text("s"), spanStartTime=Timestamp(seconds=2**63 - 1)),
    },
}


@pytest.mark.parametrize("what", UNKEPT)
async def test_what_can_not_be_kept_is_refused_and_asked_for_again(what: str):
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        response = pb.OrchestratorResponse(instanceId="i", completionToken=item.completionToken, **UNKEPT[what])
        code, message = await call.refusal("CompleteOrchestratorTask", response)
        assert code == "INVALID_ARGUMENT", message
        await decide(call, await worker.next(), complete("7"))
        assert (await ended(call)).output.value == "7"


async def test_a_failure_may_have_properties_that_json_has_not():
    async with serving() as call, connected(call) as worker:
        await start(call)
        await decide(call, await worker.next(), helpers.new_schedule_task_action(1, "a", None, {}))
        item = await worker.next()
        details = pb.TaskFailureDetails(errorType="E", errorMessage="m")
        details.properties["odd"].number_value = float("inf")
        details.properties["none"].SetInParent()
        response = pb.ActivityResponse(instanceId="i", taskId=1, failureDetails=details, completionToken=item.completionToken)
        await call("CompleteActivityTask", response)
        item = await worker.next()
        found = item.orchestratorRequest.newEvents[-1].taskFailed.failureDetails.properties
        assert (found["odd"].string_value, found["none"].WhichOneof("kind")) == ("inf", "null_value")


CODES = ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")


async def _answer(call: Caller, rpc: str, request: Any) -> str:
    code, message = await call.outcome(rpc, request, timeout=20)
    assert code in CODES, message
    return code


async def _orchestrator_survives(response: Any) -> None:
    """After the random answer the instance goes on, waits, or has ended; a worker that does its job can end what asks again."""
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        response.completionToken, response.instanceId = item.completionToken, "i"
        await _answer(call, "CompleteOrchestratorTask", response)
        if response.isPartial:
            await _answer(call, "CompleteOrchestratorTask", decision(item))
        await call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="e"))
        end = asyncio.create_task(ended(call))
        while True:
            offered = asyncio.create_task(worker.next())
            done, _ = await asyncio.wait({end, offered}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert done, "it neither ends nor asks"
            if end in done:
                offered.cancel()
                break
            item = offered.result()
            if item.HasField("orchestratorRequest"):
                ends = decision(item, complete())
                ends.actions[0].id = 1_000_000
                await _answer(call, "CompleteOrchestratorTask", ends)


@settings(max_examples=60, deadline=timedelta(seconds=30))
@given(st.data())
def test_a_random_decision_is_never_a_fault_of_the_server(data: st.DataObject):
    asyncio.run(_orchestrator_survives(data.draw(messages(pb.OrchestratorResponse, 4))))


async def _entity_survives(result: Any) -> None:
    async with serving() as call, connected(call) as worker:
        await call("SignalEntity", pb.SignalEntityRequest(instanceId=ENTITY, name="add"))
        item = await worker.next()
        result.completionToken = item.completionToken
        await _answer(call, "CompleteEntityTask", result)
        await call("SignalEntity", pb.SignalEntityRequest(instanceId=ENTITY, name="again"))
        while True:
            item = await worker.next()
            if item.HasField("entityRequestV2") and item.entityRequestV2.instanceId == ENTITY:
                break
        results = [pb.OperationResult(success=pb.OperationResultSuccess()) for _ in item.entityRequestV2.operationRequests]
        await call("CompleteEntityTask", pb.EntityBatchResult(completionToken=item.completionToken, results=results))


@settings(max_examples=40, deadline=timedelta(seconds=30))
@given(st.data())
def test_a_random_result_of_an_entity_is_never_a_fault_of_the_server(data: st.DataObject):
    asyncio.run(_entity_survives(data.draw(messages(pb.EntityBatchResult, 4))))
