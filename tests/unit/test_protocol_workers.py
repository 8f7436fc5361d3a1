"""The worker's half of the protocol, spoken by hand: what is offered, what answers do, and which are refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

import grpc  # noqa: E402 - without the extra these tests are skipped
from durabletask.internal import helpers  # noqa: E402

import perdure as df  # noqa: E402
from perdure.engine.settings import RemoteSettings  # noqa: E402
from perdure.hub import TaskHub  # noqa: E402
from perdure.protocol.http2 import frames  # noqa: E402
from perdure.protocol.http2.frames import Kind  # noqa: E402
from perdure.protocol.hubs import SingleHub  # noqa: E402
from perdure.protocol.service import SERVICE  # noqa: E402
from tests.unit.http2_lab import data, message, peer_at  # noqa: E402
from tests.unit.protocol_lab import Caller, calling, server, stored_hubs, text  # noqa: E402

DONE = pb.ORCHESTRATION_STATUS_COMPLETED
EOF: Any = vars(grpc.aio)["EOF"]
"""What a stream that has ended reads; the type stubs of gRPC lack it."""


class Stream:
    """A worker's connection."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def next(self) -> Any:
        item = await asyncio.wait_for(self._call.read(), 20)
        assert item is not EOF
        return item

    def close(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Caller]:
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    async def local(context: df.DurableOrchestrationContext) -> Any:
        return await context.call_activity("elsewhere", context.get_input())

    remote = RemoteSettings(max_rest=timedelta(milliseconds=10))
    async with (
        TaskHub(app, "memory://", settings=df.EngineSettings(remote=remote, drain_grace=timedelta())) as hub,
        calling(SingleHub("default", hub), **settings) as call,
    ):
        yield call


@asynccontextmanager
async def connected(call: Caller, **request: Any) -> AsyncIterator[Stream]:
    method = call._channel.unary_stream(  # noqa: SLF001
        f"/{SERVICE.full_name}/GetWorkItems",
        request_serializer=pb.GetWorkItemsRequest.SerializeToString,
        response_deserializer=pb.WorkItem.FromString,
    )
    stream = Stream(method(pb.GetWorkItemsRequest(**request)))
    try:
        yield stream
    finally:
        stream.close()


async def start(call: Caller, name: str = "remote", instance_id: str = "i", **fields: Any) -> None:
    await call("StartInstance", pb.CreateInstanceRequest(name=name, instanceId=instance_id, **fields))


async def decide(call: Caller, item: Any, *actions: Any, **response: Any) -> None:
    await call("CompleteOrchestratorTask", decision(item, *actions, **response))


def decision(item: Any, *actions: Any, **response: Any) -> Any:
    return pb.OrchestratorResponse(
        instanceId=item.orchestratorRequest.instanceId, completionToken=item.completionToken, actions=actions, **response
    )


def complete(result: str = "1") -> Any:
    return helpers.new_complete_orchestration_action(9, DONE, result)


def kinds(events: Any) -> list[str]:
    return [event.WhichOneof("eventType") for event in events]


async def ended(call: Caller, instance_id: str = "i") -> Any:
    request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
    return (await call("WaitForInstanceCompletion", request)).orchestrationState


async def test_an_item_has_the_past_and_what_is_new():
    async with serving() as call, connected(call) as worker:
        await start(call, input=text("7"), tags={"a": "b"}, version=text("v"))
        first = await worker.next()
        request = first.orchestratorRequest
        assert (request.instanceId, kinds(request.pastEvents)) == ("i", [])
        assert kinds(request.newEvents) == ["orchestratorStarted", "executionStarted"]
        started = request.newEvents[1].executionStarted
        assert (started.name, started.input.value, started.version.value, dict(started.tags)) == ("remote", "7", "v", {"a": "b"})
        assert len(request.executionId.value) == 32
        trace = pb.TraceContext(traceParent="00-1-2-01")
        span = pb.OrchestrationTraceContext(spanID=text("s"))
        schedule = helpers.new_schedule_task_action(1, "work", "8", {"t": "u"}, trace)
        await decide(call, first, schedule, customStatus=text('"busy"'), orchestrationTraceContext=span)
        activity = await worker.next()
        asked = activity.activityRequest
        assert (asked.name, asked.taskId, asked.input.value, dict(asked.tags)) == ("work", 1, "8", {"t": "u"})
        assert (asked.parentTraceContext.traceParent, asked.orchestrationInstance.instanceId) == ("00-1-2-01", "i")
        assert (await call.state("i")).customStatus.value == '"busy"'
        answer = pb.ActivityResponse(instanceId="i", taskId=1, result=text("9"), completionToken=activity.completionToken)
        await call("CompleteActivityTask", answer)
        second = await worker.next()
        request = second.orchestratorRequest
        assert kinds(request.pastEvents) == ["orchestratorStarted", "executionStarted", "taskScheduled", "orchestratorCompleted"]
        assert kinds(request.newEvents) == ["orchestratorStarted", "taskCompleted"]
        assert request.newEvents[0].timestamp.ToMicroseconds() >= request.pastEvents[0].timestamp.ToMicroseconds()
        assert request.orchestrationTraceContext.spanID.value == "s"
        await decide(call, second, complete("[9]"))
        state = await ended(call)
        assert (state.output.value, state.orchestrationStatus, state.HasField("customStatus")) == ("[9]", DONE, False)
        (chunk,) = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i"))
        past = [event.SerializeToString() for event in request.pastEvents]
        assert [event.SerializeToString() for event in chunk.events][: len(past)] == past
        assert kinds(chunk.events)[len(past) :] == [
            "orchestratorStarted",
            "taskCompleted",
            "orchestratorCompleted",
            "executionCompleted",
        ]


async def test_the_past_written_bit_by_bit_is_the_history():
    async with serving() as call, connected(call) as worker:
        await start(call)
        for number in range(40):
            item = await worker.next()
            (*past,) = item.orchestratorRequest.pastEvents
            chunks = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i"))
            stored = [event for chunk in chunks for event in chunk.events]
            assert stored[: len(past)] == past
            await decide(call, item)
            await call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="n", input=text("x" * number * 10)))
        await decide(call, await worker.next(), complete())
        await ended(call)


async def test_a_failed_activity_keeps_its_details():
    async with serving() as call, connected(call) as worker:
        await start(call, "local", input=text("1"))
        item = await worker.next()
        details = pb.TaskFailureDetails(
            errorType="app.Odd", errorMessage="", innerFailure={"errorType": "Root", "errorMessage": "r"}
        )
        details.properties["code"].string_value = "x"
        await call("CompleteActivityTask", pb.ActivityResponse(failureDetails=details, completionToken=item.completionToken))
        failure = (await ended(call)).failureDetails
        assert failure.innerFailure == details


async def test_what_a_vanished_worker_had_goes_to_another_and_its_answer_is_refused():
    async with serving() as call:
        await start(call)
        async with connected(call) as worker:
            lost = await worker.next()
        async with connected(call) as other:
            again = await other.next()
            assert again.completionToken != lost.completionToken
            assert (await call.refusal("CompleteOrchestratorTask", decision(lost, complete("0"))))[0] == "NOT_FOUND"
            await decide(call, again, complete("1"))
            assert (await ended(call)).output.value == "1"


@pytest.mark.parametrize("rpc", ["CompleteOrchestratorTask", "CompleteActivityTask", "CompleteEntityTask"])
@pytest.mark.parametrize("token", ["", "made-up"])
async def test_answers_nobody_asked_for_are_refused(rpc: str, token: str):
    async with serving() as call:
        request = getattr(pb, SERVICE.methods_by_name[rpc].input_type.name)(completionToken=token)
        assert (await call.refusal(rpc, request))[0] == "NOT_FOUND"
        abandon = f"AbandonTask{rpc.removeprefix('Complete').removesuffix('Task')}WorkItem"
        request = getattr(pb, SERVICE.methods_by_name[abandon].input_type.name)(completionToken=token)
        assert (await call.refusal(abandon, request))[0] == "NOT_FOUND"


async def test_a_token_is_good_for_one_answer():
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        await decide(call, item)
        assert (await call.refusal("CompleteOrchestratorTask", decision(item, complete())))[0] == "NOT_FOUND"
        assert (await call.state("i")).orchestrationStatus == pb.ORCHESTRATION_STATUS_RUNNING


async def test_a_decision_that_can_not_be_is_refused_and_asked_for_again():
    async with serving() as call, connected(call) as worker:
        await start(call)
        for bad in (
            [helpers.new_schedule_task_action(1, "", None, None)],
            [pb.OrchestratorAction(id=1)],
            [helpers.new_schedule_task_action(1, "n", None, None)] * 2,
        ):
            code, message = await call.refusal("CompleteOrchestratorTask", decision(await worker.next(), *bad))
            assert (code, "'i'" in message) == ("INVALID_ARGUMENT", True)
        await decide(call, await worker.next(), complete())
        assert (await ended(call)).orchestrationStatus == DONE


async def test_abandoned_items_come_again():
    async with serving() as call, connected(call) as worker:
        await start(call)
        item = await worker.next()
        await call("AbandonTaskOrchestratorWorkItem", pb.AbandonOrchestrationTaskRequest(completionToken=item.completionToken))
        again = await worker.next()
        assert kinds(again.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]


async def test_entities_get_their_operations_and_keep_what_comes_of_them():
    async with serving() as call, connected(call) as worker:
        await call("SignalEntity", pb.SignalEntityRequest(instanceId="@Counter@a", name="add", input=text("5")))
        item = await worker.next()
        request = item.entityRequestV2
        assert (request.instanceId, request.HasField("entityState")) == ("@counter@a", False)
        (operation,) = request.operationRequests
        assert (operation.entityOperationSignaled.operation, operation.entityOperationSignaled.input.value) == ("add", "5")
        await call(
            "CompleteEntityTask",
            pb.EntityBatchResult(
                completionToken=item.completionToken,
                results=[pb.OperationResult(success=pb.OperationResultSuccess(result=text("")))],
                entityState=text("5"),
                actions=[
                    pb.OperationAction(
                        id=0,
                        startNewOrchestration=pb.StartNewOrchestrationAction(name="remote", instanceId="child", input=text("2")),
                    ),
                    pb.OperationAction(
                        id=1, sendSignal=pb.SendSignalAction(instanceId="@Counter@b", name="add", input=text("1"))
                    ),
                ],
            ),
        )
        found = (await call("GetEntity", pb.GetEntityRequest(instanceId="@counter@a", includeState=True))).entity
        assert found.serializedState.value == "5"
        items = [await worker.next(), await worker.next()]
        assert {item.WhichOneof("request") for item in items} == {"orchestratorRequest", "entityRequestV2"}


@pytest.mark.parametrize(
    "broken",
    [
        {"results": [pb.OperationResult()]},
        {"actions": [pb.OperationAction()]},
        {"actions": [pb.OperationAction(sendSignal=pb.SendSignalAction(instanceId="nobody", name="n"))]},
        {"actions": [pb.OperationAction(startNewOrchestration=pb.StartNewOrchestrationAction(name="n", instanceId="@a@b"))]},
    ],
)
async def test_entity_results_that_can_not_be_are_refused(broken: dict[str, Any]):
    async with serving() as call, connected(call) as worker:
        await call("SignalEntity", pb.SignalEntityRequest(instanceId="@counter@a", name="add"))
        token = (await worker.next()).completionToken
        code, _ = await call.refusal("CompleteEntityTask", pb.EntityBatchResult(completionToken=token, **broken))
        assert code == "INVALID_ARGUMENT"
        again = await worker.next()
        await call(
            "CompleteEntityTask", pb.EntityBatchResult(completionToken=again.completionToken, failureDetails={"errorType": "E"})
        )
        assert (await worker.next()).entityRequestV2.instanceId == "@counter@a"


async def test_a_worker_gets_what_its_filter_names_and_no_more_than_its_limits():
    filters = pb.WorkItemFilters(
        orchestrations=[pb.OrchestrationFilter(name="mine", versions=["2"])], entities=[pb.EntityFilter(name="Counter")]
    )
    async with serving() as call, connected(call, workItemFilters=filters, maxConcurrentOrchestrationWorkItems=1) as worker:
        await start(call, "other", "a")
        await start(call, "mine", "b", version=text("1"))
        await start(call, "mine", "c", version=text("2"))
        await start(call, "mine", "d", version=text("2"))
        await call("SignalEntity", pb.SignalEntityRequest(instanceId="@counter@a", name="add"))
        items = [await worker.next(), await worker.next()]
        got = {item.orchestratorRequest.instanceId or item.entityRequestV2.instanceId: item for item in items}
        assert set(got) == {"c", "@counter@a"}
        await decide(call, got["c"], complete())
        assert (await worker.next()).orchestratorRequest.instanceId == "d"


async def test_a_worker_without_work_hears_that_the_server_is_there():
    async with serving(health_ping=timedelta(milliseconds=20)) as call, connected(call) as worker:
        for _ in range(2):
            assert (await worker.next()).WhichOneof("request") == "healthPing"
        await start(call)
        item = await worker.next()
        while item.HasField("healthPing"):
            item = await worker.next()
        assert item.orchestratorRequest.instanceId == "i"


async def test_a_hub_without_remote_work_says_so():
    async with TaskHub(df.DFApp(), "memory://") as hub, calling(SingleHub("default", hub)) as call:
        code, message = await call.refusal("GetWorkItems", pb.GetWorkItemsRequest())
        assert (code, "no work for workers" in message) == ("FAILED_PRECONDITION", True)


async def test_streams_end_when_the_hub_closes():
    app = df.DFApp()
    hub = TaskHub(app, "memory://", settings=df.EngineSettings(remote=RemoteSettings(), drain_grace=timedelta()))
    async with calling(SingleHub("default", hub)) as call:
        await hub.start()
        async with connected(call) as worker:
            await start(call)
            await worker.next()
            await hub.close()
            assert await asyncio.wait_for(worker._call.read(), 20) is EOF  # noqa: SLF001
        assert (await call.refusal("GetWorkItems", pb.GetWorkItemsRequest()))[0] == "UNAVAILABLE"


async def test_a_worker_knows_that_the_server_goes_before_its_stream_ends():
    """It connects again at once, and not to a server that is about to close the connection."""
    async with server(stored_hubs(remote=True)) as served, peer_at(served.port) as peer:
        await peer.say(peer.begin(f"/{SERVICE.full_name}/GetWorkItems"), data(1, message(b"")))
        await peer.until(Kind.HEADERS, 1)
        stopping = asyncio.create_task(served.stop())
        seen: list[str] = []
        while (frame := await peer.next()) is not None:
            seen.append(f"{Kind(frame.kind).name} {frame.stream}")
            if frame.kind == Kind.PING:
                await peer.say(frames.ping(frame.payload, ack=True))
        assert seen == ["GOAWAY 0", "PING 0", "GOAWAY 0", "HEADERS 1"]
        await stopping
