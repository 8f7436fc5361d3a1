"""Callers who mean no good, or don't know better: the right status code, a message, and nothing else happens."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

import grpc  # noqa: E402 - without the extra these tests are skipped
from google.protobuf.duration_pb2 import Duration  # noqa: E402
from google.protobuf.timestamp_pb2 import Timestamp  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from perdure.core.errors import PerdureError  # noqa: E402
from perdure.protocol.service import SERVICE  # noqa: E402
from perdure.protocol.status_codes import StatusCode, status_of  # noqa: E402
from tests.unit.protobuf_strategies import messages  # noqa: E402
from tests.unit.protocol_lab import calling, sqlite_hubs, stored_hubs, text  # noqa: E402

WORKER_RPCS = {"GetWorkItems"} | {method.name for method in SERVICE.methods if method.name.startswith(("Complete", "Abandon"))}
CLIENT_RPCS = sorted({method.name for method in SERVICE.methods} - WORKER_RPCS)
LONG_AGO = Timestamp(seconds=-(1 << 60))
ODD = Timestamp(nanos=-5)


def start(**fields: Any) -> Any:
    return pb.CreateInstanceRequest(**{"name": "n", "instanceId": "i", **fields})


BAD: list[tuple[str, Any, str, str]] = [
    ("StartInstance", start(name=""), "INVALID_ARGUMENT", "'name' is empty"),
    ("StartInstance", start(instanceId="@a@b"), "INVALID_ARGUMENT", "marks entities"),
    ("StartInstance", start(instanceId="a/b"), "INVALID_ARGUMENT", "not allowed"),
    ("StartInstance", start(instanceId="x" * 300), "INVALID_ARGUMENT", "300 characters"),
    ("StartInstance", start(name="a\0b"), "INVALID_ARGUMENT", "'name' has the character NUL at position 1"),
    ("StartInstance", start(version=text("1\0")), "INVALID_ARGUMENT", "'version' has the character NUL"),
    ("StartInstance", start(executionId=text("a~b")), "INVALID_ARGUMENT", "'executionId'"),
    ("StartInstance", start(scheduledStartTimestamp=LONG_AGO), "INVALID_ARGUMENT", "'scheduledStartTimestamp' is no moment"),
    ("StartInstance", start(scheduledStartTimestamp=ODD), "INVALID_ARGUMENT", "'scheduledStartTimestamp' is no moment"),
    (
        "StartInstance",
        start(orchestrationIdReusePolicy=pb.OrchestrationIdReusePolicy(replaceableStatus=[99])),
        "INVALID_ARGUMENT",
        "status 99",
    ),
    ("StartInstance", start(input=text("x" * (9 << 20))), "RESOURCE_EXHAUSTED", "max_payload_bytes"),
    ("RaiseEvent", pb.RaiseEventRequest(instanceId="nobody", name="n"), "NOT_FOUND", "no instance 'nobody'"),
    ("RaiseEvent", pb.RaiseEventRequest(instanceId="nobody"), "INVALID_ARGUMENT", "'name' is empty"),
    ("RaiseEvent", pb.RaiseEventRequest(instanceId="@a@b", name="n"), "NOT_FOUND", "is an entity"),
    ("TerminateInstance", pb.TerminateRequest(instanceId="nobody"), "NOT_FOUND", "no instance 'nobody'"),
    ("SuspendInstance", pb.SuspendRequest(instanceId="nobody"), "NOT_FOUND", "no instance 'nobody'"),
    ("ResumeInstance", pb.ResumeRequest(instanceId="nobody"), "NOT_FOUND", "no instance 'nobody'"),
    ("RewindInstance", pb.RewindInstanceRequest(instanceId="nobody"), "NOT_FOUND", "no instance 'nobody'"),
    ("RestartInstance", pb.RestartInstanceRequest(instanceId="nobody"), "NOT_FOUND", "no instance 'nobody'"),
    ("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="nobody"), "NOT_FOUND", "no instance 'nobody'"),
    ("PurgeInstances", pb.PurgeInstancesRequest(), "INVALID_ARGUMENT", "names nothing to purge"),
    (
        "PurgeInstances",
        pb.PurgeInstancesRequest(instanceBatch=pb.InstanceBatch(instanceIds=["i"] * 501)),
        "INVALID_ARGUMENT",
        "501 ids",
    ),
    (
        "SkipGracefulOrchestrationTerminations",
        pb.SkipGracefulOrchestrationTerminationsRequest(instanceBatch=pb.InstanceBatch(instanceIds=["i"] * 501)),
        "INVALID_ARGUMENT",
        "501 ids",
    ),
    (
        "QueryInstances",
        pb.QueryInstancesRequest(query=pb.InstanceQuery(continuationToken=text("7"))),
        "INVALID_ARGUMENT",
        "'continuationToken' '7'",
    ),
    ("QueryInstances", pb.QueryInstancesRequest(query=pb.InstanceQuery(runtimeStatus=[-3])), "INVALID_ARGUMENT", "status -3"),
    ("QueryInstances", pb.QueryInstancesRequest(query=pb.InstanceQuery(createdTimeTo=LONG_AGO)), "INVALID_ARGUMENT", "no moment"),
    ("ListInstanceIds", pb.ListInstanceIdsRequest(lastInstanceKey=text("²|i")), "INVALID_ARGUMENT", "'lastInstanceKey'"),
    ("ListInstanceIds", pb.ListInstanceIdsRequest(lastInstanceKey=text("7")), "INVALID_ARGUMENT", "'lastInstanceKey'"),
    ("SignalEntity", pb.SignalEntityRequest(instanceId="counter", name="n"), "INVALID_ARGUMENT", "isn't an entity id"),
    ("SignalEntity", pb.SignalEntityRequest(instanceId="@a@b"), "INVALID_ARGUMENT", "'name' is empty"),
    ("GetEntity", pb.GetEntityRequest(instanceId="@"), "INVALID_ARGUMENT", "isn't an entity id"),
    (
        "QueryEntities",
        pb.QueryEntitiesRequest(query=pb.EntityQuery(continuationToken=text("7"))),
        "INVALID_ARGUMENT",
        "'continuationToken' '7'",
    ),
]


@pytest.mark.parametrize(("rpc", "request_", "code", "reason"), BAD, ids=range(len(BAD)))
async def test_bad_fields_are_named(rpc: str, request_: Any, code: str, reason: str):
    async with calling(stored_hubs()) as call:
        got, message = await call.refusal(rpc, request_)
        assert (got, bool(re.search(re.escape(reason), message))) == (code, True), message
        assert list((await call("QueryInstances", pb.QueryInstancesRequest())).orchestrationState) == []


async def test_no_text_of_a_caller_stops_a_hub_that_is_on_disk(tmp_path: Path):
    """Stores can't keep every text everywhere, and a hub whose commit is refused gives up."""
    nul = text("a\0b")
    requests = [
        ("StartInstance", start(name="\0")),
        ("StartInstance", start(version=nul)),
        ("StartInstance", start(tags={"\0": "\0"}, input=nul)),
        ("RaiseEvent", pb.RaiseEventRequest(instanceId="i", name="\0", input=nul)),
        ("SuspendInstance", pb.SuspendRequest(instanceId="i", reason=nul)),
        ("ResumeInstance", pb.ResumeRequest(instanceId="i", reason=nul)),
        ("TerminateInstance", pb.TerminateRequest(instanceId="i", output=nul)),
        ("SignalEntity", pb.SignalEntityRequest(instanceId="@a@b\0", name="n")),
        ("SignalEntity", pb.SignalEntityRequest(instanceId="@a@b", name="\0", input=nul)),
        ("QueryInstances", pb.QueryInstancesRequest(query=pb.InstanceQuery(instanceIdPrefix=nul))),
        ("GetInstance", pb.GetInstanceRequest(instanceId="\0")),
    ]
    async with calling(sqlite_hubs(tmp_path)) as call:
        for number, (rpc, request) in enumerate(requests):
            code, message = await call.outcome(rpc, request)
            assert code in ("OK", "INVALID_ARGUMENT"), message
            await call("StartInstance", start(instanceId=f"after-{number}"))


@pytest.mark.parametrize("rpc", CLIENT_RPCS)
async def test_what_is_no_message_is_refused(rpc: str):
    async with calling(stored_hubs()) as call:
        for data in (b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xff"):
            if rpc in ("Hello", "DeleteTaskHub", "CreateTaskHub") and data != b"\xff":
                continue  # they have no text in their first field, so that this is one that they don't know
            code, message = await call.refusal(rpc, data)
            assert (code, message.startswith("[PD4402]")) == ("INVALID_ARGUMENT", True)


async def test_a_message_over_the_limit_is_refused():
    async with calling(stored_hubs(), max_message_bytes=10_000) as call:
        code, message = await call.refusal("StartInstance", start(input=text("x" * 20_000)))
        assert (code, "larger than the" in message) == ("RESOURCE_EXHAUSTED", True)
        assert await call.state("i") is None


async def test_rpcs_that_nobody_serves_say_so():
    async with calling(stored_hubs()) as call, grpc.aio.insecure_channel("127.0.0.1:1") as _:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call._channel.unary_unary(f"/{SERVICE.full_name}/Nonsense")(b"")  # noqa: SLF001
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def _survives(rpc: str, data: bytes) -> None:
    async with calling(stored_hubs()) as call:
        code, message = await call.outcome(rpc, data)
        assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"), message
        await call("GetInstance", pb.GetInstanceRequest(instanceId="i"))


@settings(max_examples=60)
@given(rpc=st.sampled_from([name for name in CLIENT_RPCS if not name.startswith("Wait")]), data=st.data())
def test_random_requests_are_never_a_fault_of_the_server(rpc: str, data: st.DataObject):
    message = getattr(pb, SERVICE.methods_by_name[rpc].input_type.name, None)
    if message is None:
        return
    request = data.draw(messages(message))
    asyncio.run(_survives(rpc, request.SerializeToString()))


@pytest.mark.parametrize(("seconds", "complete"), [(2**63 - 1, True), (-(2**63), False)])
async def test_a_purge_may_take_any_time(seconds: int, complete: bool):
    async with calling(stored_hubs()) as call:
        await call("StartInstance", start())
        await call("TerminateInstance", pb.TerminateRequest(instanceId="i"))
        within = pb.PurgeInstanceFilter(timeout=Duration(seconds=seconds))
        response = await call("PurgeInstances", pb.PurgeInstancesRequest(purgeInstanceFilter=within))
        assert (response.isComplete.value, response.deletedInstanceCount) == (complete, int(complete))


async def test_a_wait_with_random_ids_ends():
    async with calling(stored_hubs()) as call:
        for instance_id in ("", "\x00", "@", "x" * 10_000):
            response = await call("WaitForInstanceCompletion", pb.GetInstanceRequest(instanceId=instance_id))
            assert not response.exists


def test_a_bug_in_the_server_shows_no_more_than_its_type():
    code, message = status_of(ZeroDivisionError("secret"))
    assert (code, "secret" in message, "ZeroDivisionError" in message) == (StatusCode.INTERNAL, False, True)
    assert status_of(PerdureError("known"))[0] is StatusCode.INTERNAL


async def test_a_bug_in_the_server_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    async with calling(stored_hubs()) as call:
        monkeypatch.setattr("perdure.client.raw.check_instance_id", lambda _: 1 / 0)
        assert (await call.refusal("StartInstance", start()))[0] == "INTERNAL"
    assert "the rpc StartInstance has failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_calls_over_the_limit_are_refused():
    async with calling(stored_hubs(), max_concurrent_calls=2) as call:
        await call("StartInstance", start())
        wait = pb.GetInstanceRequest(instanceId="i")
        refusals = await asyncio.gather(*(call.refusal("WaitForInstanceCompletion", wait, timeout=0.5) for _ in range(6)))
        assert {code for code, _ in refusals} == {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
        assert await call.state("i") is not None
