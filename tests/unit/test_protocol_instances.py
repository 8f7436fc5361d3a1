"""The client's half of the Durable Task protocol: start, ask, steer, list and purge, by the rules of the reference."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

from google.protobuf.empty_pb2 import Empty  # noqa: E402 - without the extra these tests are skipped
from google.protobuf.timestamp_pb2 import Timestamp  # noqa: E402

import perdure as df  # noqa: E402
from tests.unit.protocol_lab import Caller, app_served, text  # noqa: E402

ENDED = [pb.ORCHESTRATION_STATUS_COMPLETED, pb.ORCHESTRATION_STATUS_FAILED, pb.ORCHESTRATION_STATUS_TERMINATED]
app = df.DFApp()


@app.orchestration_trigger(context_name="context")
def echo(context: df.DurableOrchestrationContext) -> Any:
    return context.get_input()


@app.orchestration_trigger(context_name="context")
async def waiter(context: df.DurableOrchestrationContext) -> Any:
    context.set_custom_status({"waits": True})
    return await context.wait_for_external_event("go")


@app.orchestration_trigger(context_name="context")
async def failing(context: df.DurableOrchestrationContext) -> Any:
    raise ValueError("no")


@app.orchestration_trigger(context_name="context")
async def family(context: df.DurableOrchestrationContext) -> Any:
    depth = context.get_input()
    if depth:
        return await context.call_sub_orchestrator("family", depth - 1, f"{context.instance_id}-{depth - 1}")
    return await context.wait_for_external_event("go")


@app.orchestration_trigger(context_name="context")
def again(context: df.DurableOrchestrationContext) -> Any:
    if context.get_input() < 2:
        context.continue_as_new(context.get_input() + 1)
        return None
    return context.get_input()


@app.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext) -> None:
    if context.operation_name == "reset":
        context.set_state(None)
    else:
        context.set_state((context.get_state(lambda: 0) or 0) + context.get_input())


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with app_served(app) as caller:
        yield caller


async def start(call: Caller, name: str, instance_id: str = "i", **fields: Any) -> str:
    return (await call("StartInstance", pb.CreateInstanceRequest(name=name, instanceId=instance_id, **fields))).instanceId


async def ended(call: Caller, instance_id: str = "i") -> Any:
    request = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
    response = await call("WaitForInstanceCompletion", request)
    assert response.exists
    return response.orchestrationState


async def begun(call: Caller, instance_id: str = "i") -> Any:
    return (await call("WaitForInstanceStart", pb.GetInstanceRequest(instanceId=instance_id))).orchestrationState


async def test_hello(call: Caller):
    await call("Hello", Empty())


@pytest.mark.parametrize("payload", [None, "", "1", '{"a": [1, null]}', "not JSON"])
async def test_payloads_go_in_and_out_as_they_are(call: Caller, payload: str | None):
    await start(call, "waiter", input=None if payload is None else text(payload))
    await begun(call)
    await call("TerminateInstance", pb.TerminateRequest(instanceId="i", output=None if payload is None else text(payload)))
    state = await ended(call)
    assert [state.HasField(field) for field in ("input", "output")] == [payload is not None] * 2
    assert (state.input.value, state.output.value) == (payload or "", payload or "")
    (chunk,) = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i"))
    started = chunk.events[1].executionStarted
    assert (started.HasField("input"), started.input.value) == (payload is not None, payload or "")


async def test_a_start_is_told_back_whole(call: Caller):
    trace = pb.TraceContext(traceParent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", traceState=text("a=b"))
    await start(
        call,
        "ECHO",
        version=text("1.2"),
        tags={"team": "red"},
        executionId=text("mine"),
        parentTraceContext=trace,
        input=text("1"),
    )
    state = await ended(call)
    assert (state.instanceId, state.name, state.version.value, dict(state.tags)) == ("i", "echo", "1.2", {"team": "red"})
    assert (state.executionId.value, state.output.value, state.orchestrationStatus) == ("mine", "1", ENDED[0])
    assert state.completedTimestamp == state.lastUpdatedTimestamp
    assert state.createdTimestamp.ToMicroseconds() <= state.lastUpdatedTimestamp.ToMicroseconds()
    (chunk,) = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i", executionId=text("mine")))
    assert chunk.events[1].executionStarted.parentTraceContext == trace
    assert chunk.events[1].executionStarted.orchestrationInstance.executionId.value == "mine"


async def test_the_same_execution_id_twice_loses_nothing(call: Caller):
    for instance_id in ("a", "b"):
        await start(call, "family", instance_id, executionId=text("same"), input=text("1"))
        await begun(call, f"{instance_id}-0")
        await call("RaiseEvent", pb.RaiseEventRequest(instanceId=f"{instance_id}-0", name="go", input=text('"x"')))
        assert (await ended(call, instance_id)).output.value == '"x"'


async def test_continue_as_new_renews_the_execution_id(call: Caller):
    await start(call, "again", executionId=text("first"), input=text("0"))
    execution_id = (await ended(call)).executionId.value
    assert len(execution_id) == 32
    assert (
        await call.refusal("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i", executionId=text("first")))
    )[0] == "NOT_FOUND"


async def test_an_id_is_made_up_where_none_is_given(call: Caller):
    assert len(await start(call, "echo", "")) == 32


async def test_a_start_in_the_past_is_a_start_now(call: Caller):
    await start(call, "echo", scheduledStartTimestamp=Timestamp(seconds=0))
    state = await ended(call)
    (chunk,) = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i"))
    assert chunk.events[0].timestamp.seconds > 1_000_000_000
    assert state.createdTimestamp.seconds > 1_000_000_000


async def test_a_start_in_the_future_waits(call: Caller):
    await start(call, "echo", scheduledStartTimestamp=Timestamp(seconds=4_000_000_000))
    state = await call.state("i")
    assert (state.orchestrationStatus, state.scheduledStartTimestamp.seconds) == (pb.ORCHESTRATION_STATUS_PENDING, 4_000_000_000)
    assert (await call.refusal("WaitForInstanceStart", pb.GetInstanceRequest(instanceId="i"), timeout=0.1))[0] == (
        "DEADLINE_EXCEEDED"
    )


STATUSES = {"Running": pb.ORCHESTRATION_STATUS_RUNNING, "Suspended": pb.ORCHESTRATION_STATUS_SUSPENDED} | {
    "Completed": ENDED[0],
    "Failed": ENDED[1],
    "Terminated": ENDED[2],
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("replaceable", [[], *([number] for number in STATUSES.values())])
async def test_what_is_there_is_replaced_in_the_named_statuses_only(call: Caller, status: str, replaceable: list[int]):
    await start(call, {"Completed": "echo", "Failed": "failing"}.get(status, "waiter"))
    await begun(call)
    if status == "Suspended":
        await call("SuspendInstance", pb.SuspendRequest(instanceId="i"))
    elif status == "Terminated":
        await call("TerminateInstance", pb.TerminateRequest(instanceId="i"))
    request = pb.CreateInstanceRequest(
        name="echo",
        instanceId="i",
        input=text('"new"'),
        orchestrationIdReusePolicy=pb.OrchestrationIdReusePolicy(replaceableStatus=replaceable),
    )
    if STATUSES[status] in replaceable:
        await call("StartInstance", request)
        assert (await ended(call)).output.value == '"new"'
    else:
        assert (await call.refusal("StartInstance", request))[0] == "ALREADY_EXISTS"
        assert (await call.state("i")).orchestrationStatus == STATUSES[status]


async def test_without_payloads_nothing_of_them_is_shown(call: Caller):
    await start(call, "waiter", input=text("1"))
    await begun(call)
    bare = (await call("GetInstance", pb.GetInstanceRequest(instanceId="i"))).orchestrationState
    assert not any(bare.HasField(field) for field in ("input", "output", "customStatus", "failureDetails"))
    assert (await call.state("i")).customStatus.value == '{"waits":true}'


@pytest.mark.parametrize("rpc", ["GetInstance", "WaitForInstanceStart", "WaitForInstanceCompletion"])
@pytest.mark.parametrize("instance_id", ["nobody", "", "@counter@a"])
async def test_an_unknown_instance_does_not_exist(call: Caller, rpc: str, instance_id: str):
    assert not (await call(rpc, pb.GetInstanceRequest(instanceId=instance_id))).exists


async def test_waiting_for_a_start_is_woken_by_it(call: Caller):
    # Its start is a moment away, so that the call waits.
    soon = Timestamp()
    soon.GetCurrentTime()
    soon.nanos = min(soon.nanos + 200_000_000, 999_999_999)
    await start(call, "waiter", scheduledStartTimestamp=soon)
    assert (await begun(call)).orchestrationStatus == pb.ORCHESTRATION_STATUS_RUNNING


async def test_a_caller_that_gives_up_waiting_harms_nobody(call: Caller):
    await start(call, "waiter")
    waiting = pb.GetInstanceRequest(instanceId="i")
    assert (await call.refusal("WaitForInstanceCompletion", waiting, timeout=0.05))[0] == "DEADLINE_EXCEEDED"
    patient = asyncio.ensure_future(ended(call))
    await asyncio.sleep(0)
    await call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="go"))
    assert (await patient).orchestrationStatus == ENDED[0]


async def test_a_wait_without_deadline_is_capped():
    from datetime import timedelta

    async with app_served(app, max_wait=timedelta(milliseconds=20)) as call:
        await start(call, "waiter")
        code, message = await call.refusal("WaitForInstanceCompletion", pb.GetInstanceRequest(instanceId="i"))
        assert code == "DEADLINE_EXCEEDED"
        assert message


async def test_events_reach_instances_that_run_and_those_that_have_ended_ignore_them(call: Caller):
    await start(call, "waiter")
    await call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="GO", input=text("[1]")))
    assert (await ended(call)).output.value == "[1]"
    for rpc, request in (
        ("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="go")),
        ("TerminateInstance", pb.TerminateRequest(instanceId="i", output=text("1"))),
        ("SuspendInstance", pb.SuspendRequest(instanceId="i")),
        ("ResumeInstance", pb.ResumeRequest(instanceId="i")),
    ):
        await call(rpc, request)
    assert (await call.state("i")).output.value == "[1]"


async def test_a_suspended_instance_keeps_what_arrives(call: Caller):
    await start(call, "waiter")
    for reason in ("why", "again"):
        await call("SuspendInstance", pb.SuspendRequest(instanceId="i", reason=text(reason)))
    await call("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="go"))
    assert (await call.state("i")).orchestrationStatus == pb.ORCHESTRATION_STATUS_SUSPENDED
    await call("ResumeInstance", pb.ResumeRequest(instanceId="i", reason=text("on")))
    await ended(call)
    (chunk,) = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i"))
    suspended = [event.executionSuspended.input.value for event in chunk.events if event.HasField("executionSuspended")]
    assert suspended == ["why"]  # two in a row would put an SDK's worker into an endless loop


async def test_a_failure_is_told_with_its_details(call: Caller):
    await start(call, "failing")
    state = await ended(call)
    assert (state.orchestrationStatus, state.HasField("output")) == (ENDED[1], False)
    assert (state.failureDetails.errorType, state.failureDetails.errorMessage) == ("ValueError", "no")
    assert "raise ValueError" in state.failureDetails.stackTrace.value


async def test_rewinding_is_for_failed_instances(call: Caller):
    await start(call, "failing")
    await ended(call)
    await call("RewindInstance", pb.RewindInstanceRequest(instanceId="i", reason=text("why")))
    await ended(call)
    await start(call, "echo", "ok")
    await ended(call, "ok")
    await start(call, "waiter", "runs")
    for instance_id in ("ok", "runs"):
        refused = await call.refusal("RewindInstance", pb.RewindInstanceRequest(instanceId=instance_id))
        assert refused[0] == "FAILED_PRECONDITION"


async def test_restarting(call: Caller):
    await start(call, "echo", input=text("7"), version=text("v"), tags={"a": "b"})
    first = await ended(call)
    new_id = (await call("RestartInstance", pb.RestartInstanceRequest(instanceId="i", restartWithNewInstanceId=True))).instanceId
    again_ = await ended(call, new_id)
    assert new_id != "i"
    assert (again_.name, again_.input.value, again_.version.value, dict(again_.tags)) == ("echo", "7", "v", {})
    same = (await call("RestartInstance", pb.RestartInstanceRequest(instanceId="i"))).instanceId
    assert same == "i"
    assert (await ended(call)).executionId.value != first.executionId.value
    await start(call, "waiter", "runs")
    for new in (False, True):
        refused = await call.refusal(
            "RestartInstance", pb.RestartInstanceRequest(instanceId="runs", restartWithNewInstanceId=new)
        )
        assert refused[0] == "FAILED_PRECONDITION"


@pytest.mark.parametrize("recursive", [False, True])
async def test_terminating_takes_the_children_along_where_asked(call: Caller, recursive: bool):
    await start(call, "family", input=text("2"))
    await begun(call, "i-1-0")
    await call("TerminateInstance", pb.TerminateRequest(instanceId="i", output=text('"bye"'), recursive=recursive))
    assert (await ended(call)).output.value == '"bye"'
    youngest = await (ended if recursive else call.state.__func__)(call, "i-1-0")  # type: ignore[attr-defined]
    assert youngest.orchestrationStatus == (ENDED[2] if recursive else pb.ORCHESTRATION_STATUS_RUNNING)
    assert youngest.parentInstanceId.value == "i-1"


@pytest.mark.parametrize("recursive", [False, True])
async def test_purging_takes_the_children_along_where_asked(call: Caller, recursive: bool):
    await start(call, "family", input=text("2"))
    await begun(call, "i-1-0")
    purge = pb.PurgeInstancesRequest(instanceId="i", recursive=recursive, isOrchestration=True)
    assert (await call("PurgeInstances", purge)).deletedInstanceCount == 0  # it runs
    await call("RaiseEvent", pb.RaiseEventRequest(instanceId="i-1-0", name="go"))
    await ended(call)
    result = await call("PurgeInstances", purge)
    assert (result.deletedInstanceCount, result.isComplete.value) == (3 if recursive else 1, True)
    assert ((await call.state("i-1")) is None) == recursive


async def test_purging_leaves_alone_who_has_the_id_of_a_child_now(call: Caller):
    await start(call, "family", input=text("1"))
    await begun(call, "i-0")
    await call("RaiseEvent", pb.RaiseEventRequest(instanceId="i-0", name="go"))
    await ended(call)
    policy = pb.OrchestrationIdReusePolicy(replaceableStatus=ENDED)
    await start(call, "echo", "i-0", orchestrationIdReusePolicy=policy)
    await ended(call, "i-0")
    assert (await call("PurgeInstances", pb.PurgeInstancesRequest(instanceId="i", recursive=True))).deletedInstanceCount == 1
    assert await call.state("i-0") is not None


async def test_purging_by_filter_and_batch(call: Caller):
    for number in range(5):
        await start(call, "failing" if number == 4 else "echo", f"i{number}")
        await ended(call, f"i{number}")
    await start(call, "waiter", "runs")
    batch = pb.PurgeInstancesRequest(instanceBatch=pb.InstanceBatch(instanceIds=["i0", "i0", "nobody", "runs", "@counter@a"]))
    assert (await call("PurgeInstances", batch)).deletedInstanceCount == 1
    late = (await call.state("i2")).createdTimestamp
    for fields, deleted in (
        ({"runtimeStatus": [pb.ORCHESTRATION_STATUS_RUNNING]}, 0),
        ({"createdTimeFrom": Timestamp(seconds=4_000_000_000)}, 0),
        ({"createdTimeTo": late, "runtimeStatus": [ENDED[0]]}, 2),
        ({"runtimeStatus": [ENDED[1]]}, 1),
        ({}, 1),
    ):
        result = await call("PurgeInstances", pb.PurgeInstancesRequest(purgeInstanceFilter=pb.PurgeInstanceFilter(**fields)))
        assert (result.deletedInstanceCount, result.isComplete.value) == (deleted, True), fields
    assert await call.state("runs") is not None


async def test_a_purge_stops_when_its_time_is_over(call: Caller):
    await start(call, "echo")
    await ended(call)
    asked = pb.PurgeInstanceFilter()
    asked.timeout.SetInParent()
    result = await call("PurgeInstances", pb.PurgeInstancesRequest(purgeInstanceFilter=asked))
    assert (result.deletedInstanceCount, result.isComplete.value) == (0, False)


async def test_skipping_graceful_terminations_tells_who_is_left(call: Caller):
    await start(call, "echo", "done")
    await ended(call, "done")
    for instance_id in ("a", "b"):
        await start(call, "waiter", instance_id)
    ids = ["a", "done", "nobody", "@counter@a", "b"]
    request = pb.SkipGracefulOrchestrationTerminationsRequest(instanceBatch=pb.InstanceBatch(instanceIds=ids), reason=text("why"))
    left = (await call("SkipGracefulOrchestrationTerminations", request)).unterminatedInstanceIds
    assert list(left) == ["done", "nobody", "@counter@a"]
    assert (await call.state("a")).output.value == '"why"'


async def pages(call: Caller, rpc: str, request: Any, query: Any, items: str) -> list[list[str]]:
    found: list[list[str]] = []
    while True:
        response = await call(rpc, request)
        found.append([item.instanceId for item in getattr(response, items)])
        if not response.HasField("continuationToken"):
            return found
        query.continuationToken.CopyFrom(response.continuationToken)


async def test_queries_page_through_everything_once(call: Caller):
    for number in range(7):
        await start(call, "waiter" if number % 2 else "echo", str(number), input=text("1"))
        await begun(call, str(number))
    await call("SignalEntity", pb.SignalEntityRequest(instanceId="@counter@a", name="add", input=text("1")))

    async def ids(**fields: Any) -> list[list[str]]:
        request = pb.QueryInstancesRequest(query=pb.InstanceQuery(**fields))
        return await pages(call, "QueryInstances", request, request.query, "orchestrationState")

    assert await ids() == [list("0123456")]
    assert await ids(maxInstanceCount=2**31 - 1) == [list("0123456")]
    assert await ids(maxInstanceCount=3) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert await ids(maxInstanceCount=-1) == [list("0123456")]
    assert await ids(runtimeStatus=[pb.ORCHESTRATION_STATUS_RUNNING]) == [["1", "3", "5"]]
    assert await ids(runtimeStatus=[pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW]) == [[]]
    assert await ids(instanceIdPrefix=text("4")) == [["4"]]
    assert await ids(createdTimeFrom=Timestamp(seconds=4_000_000_000)) == [[]]
    assert await ids(taskHubNames=[text("DEFAULT")]) == [list("0123456")]
    assert await ids(taskHubNames=[text("other")]) == [[]]
    request = pb.QueryInstancesRequest(query=pb.InstanceQuery(fetchInputsAndOutputs=True, instanceIdPrefix=text("0")))
    (state,) = (await call("QueryInstances", request)).orchestrationState
    assert (state.input.value, state.output.value) == ("1", "1")


async def test_pages_are_cut_where_they_get_too_large():
    async with app_served(app, page_bytes=5000) as call:
        for number in range(5):
            await start(call, "echo", str(number), input=text('"' + "x" * 1500 + '"'))
            await ended(call, str(number))
        request = pb.QueryInstancesRequest(query=pb.InstanceQuery(fetchInputsAndOutputs=True))
        found = await pages(call, "QueryInstances", request, request.query, "orchestrationState")
        assert [len(page) for page in found] == [1, 1, 1, 1, 1]
        chunks = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="0"))
        assert len(chunks) == 1  # 3 kB
        await start(call, "waiter", "long")
        for _ in range(250):
            await call("RaiseEvent", pb.RaiseEventRequest(instanceId="long", name="other", input=text('"' + "y" * 100 + '"')))
        chunks = await call("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="long"))
        assert all(chunk.ByteSize() <= 5000 and len(chunk.events) <= 100 for chunk in chunks)
        assert sum(event.HasField("eventRaised") for chunk in chunks for event in chunk.events) == 250


async def test_ended_instances_are_listed_in_the_order_of_their_ends(call: Caller):
    names = ["c", "a", "d", "b"]
    for name in names:
        await start(call, "failing" if name == "d" else "echo", name)
        await ended(call, name)
    await start(call, "waiter", "runs")

    async def ids(**fields: Any) -> list[list[str]]:
        found: list[list[str]] = []
        request = pb.ListInstanceIdsRequest(**fields)
        while True:
            response = await call("ListInstanceIds", request)
            found.append(list(response.instanceIds))
            if not response.HasField("lastInstanceKey"):
                return found
            request.lastInstanceKey.CopyFrom(response.lastInstanceKey)

    assert await ids() == [names]
    assert await ids(pageSize=3) == [["c", "a", "d"], ["b"]]
    assert await ids(pageSize=1) == [["c"], ["a"], ["d"], ["b"]]
    assert await ids(runtimeStatus=[ENDED[1]]) == [["d"]]
    assert await ids(runtimeStatus=[pb.ORCHESTRATION_STATUS_RUNNING]) == [[]]
    third = (await call.state("d")).completedTimestamp
    assert await ids(completedTimeFrom=third) == [["d", "b"]]
    assert await ids(completedTimeTo=third) == [["c", "a"]]


async def test_entities(call: Caller):
    for key, amount in (("a", "1"), ("a", "2"), ("B", "3"), ("gone", "4")):
        await call("SignalEntity", pb.SignalEntityRequest(instanceId=f"@Counter@{key}", name="add", input=text(amount)))
    await call("SignalEntity", pb.SignalEntityRequest(instanceId="@counter@gone", name="reset"))
    later = pb.SignalEntityRequest(
        instanceId="@counter@later", name="add", input=text("1"), scheduledTime=Timestamp(seconds=4_000_000_000)
    )
    await call("SignalEntity", later)

    async def entity(instance_id: str, *, state: bool = True) -> Any:
        return await call("GetEntity", pb.GetEntityRequest(instanceId=instance_id, includeState=state))

    found = (await entity("@COUNTER@a")).entity
    assert (found.instanceId, found.serializedState.value, found.backlogQueueSize) == ("@counter@a", "3", 0)
    assert not found.HasField("lockedBy")
    assert not (await entity("@counter@a", state=False)).entity.HasField("serializedState")
    assert [(await entity(f"@counter@{key}")).exists for key in ("gone", "later", "b", "B")] == [False, False, False, True]

    async def ids(**fields: Any) -> list[list[str]]:
        request = pb.QueryEntitiesRequest(query=pb.EntityQuery(**fields))
        return await pages(call, "QueryEntities", request, request.query, "entities")

    everybody = ["@counter@B", "@counter@a"]
    assert await ids() == [everybody]
    assert await ids(instanceIdStartsWith=text("@Counter@a")) == [["@counter@a"]]
    assert await ids(instanceIdStartsWith=text("COUNT")) == [everybody]
    assert await ids(instanceIdStartsWith=text("@other")) == [[]]
    assert await ids(includeTransient=True) == [[*everybody, "@counter@later"]]
    assert await ids(lastModifiedFrom=Timestamp(seconds=4_000_000_000)) == [[]]
    request = pb.QueryEntitiesRequest(query=pb.EntityQuery(includeState=True))
    request.query.pageSize.value = 1
    assert await pages(call, "QueryEntities", request, request.query, "entities") == [["@counter@B"], ["@counter@a"]]
    cleaned = await call("CleanEntityStorage", pb.CleanEntityStorageRequest(removeEmptyEntities=True, releaseOrphanedLocks=True))
    assert (cleaned.emptyEntitiesRemoved, cleaned.orphanedLocksReleased) == (0, 0)
