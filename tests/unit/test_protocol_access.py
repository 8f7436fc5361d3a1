"""Who is let in: tokens, certificates, and no public address without either."""

from pathlib import Path

import pytest

pb = pytest.importorskip("durabletask.internal.orchestrator_service_pb2")

import grpc  # noqa: E402 - without the extra these tests are skipped
from google.protobuf.empty_pb2 import Empty  # noqa: E402

from perdure.protocol.errors import ServerSettingsError  # noqa: E402
from perdure.protocol.server import ProtocolServer  # noqa: E402
from perdure.protocol.settings import ProtocolSettings, TlsFiles  # noqa: E402
from tests.certificates import certificates  # noqa: E402
from tests.unit.protocol_lab import Caller, calling, server, stored_hubs  # noqa: E402

TOKENS = frozenset({"one", "zwei-é"})


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer two", "Basic one", "one", "Bearer one two", "Bearer oneone", "Bearer zwei-e"],
)
async def test_nobody_without_a_known_token_is_let_in(authorization: str | None):
    metadata = () if authorization is None else (("authorization", authorization),)
    async with calling(stored_hubs(), metadata=metadata, tokens=TOKENS) as call:
        for rpc, request in (
            ("Hello", Empty()),
            ("StartInstance", pb.CreateInstanceRequest(name="n")),
            ("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId="i")),
            ("GetInstance", b"\xff"),
        ):
            code, message = await call.refusal(rpc, request)
            assert (code, "one" in message.replace("one of its", "")) == ("UNAUTHENTICATED", False)


@pytest.mark.parametrize("authorization", ["Bearer one", "bearer  one", "BEARER one "])
async def test_a_known_token_opens(authorization: str):
    async with calling(stored_hubs(), metadata=(("authorization", authorization),), tokens=TOKENS) as call:
        await call("Hello", Empty())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_the_public_is_not_served_without_authentication(host: str, tmp_path: Path):
    with pytest.raises(ServerSettingsError, match="would let everybody in"):
        ProtocolServer(stored_hubs(), ProtocolSettings(host=host))
    files = certificates(tmp_path)
    with pytest.raises(ServerSettingsError, match="would let everybody in"):  # TLS hides; it doesn't ask who is there
        ProtocolServer(stored_hubs(), ProtocolSettings(host=host, tls=files["server"]))
    ProtocolServer(stored_hubs(), ProtocolSettings(host=host, tokens=TOKENS))
    ProtocolServer(stored_hubs(), ProtocolSettings(host=host, tls=files["mutual"]))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "::1"])
def test_this_machine_is_served_without_authentication(host: str):
    ProtocolServer(stored_hubs(), ProtocolSettings(host=host))


async def test_tls_hides_and_mutual_tls_asks_who_is_there(tmp_path: Path):
    files = certificates(tmp_path)
    authority = (tmp_path / "ca.pem").read_bytes()
    known = grpc.ssl_channel_credentials(
        authority, (tmp_path / "client.key").read_bytes(), (tmp_path / "client.pem").read_bytes()
    )
    unknown = grpc.ssl_channel_credentials(authority)
    for tls, credentials, expected in (
        (files["server"], unknown, "OK"),
        (files["mutual"], known, "OK"),
        (files["mutual"], unknown, "UNAVAILABLE"),
    ):
        async with (
            server(stored_hubs(), tls=tls, host="localhost") as served,
            grpc.aio.secure_channel(served.address, credentials) as channel,
        ):
            assert (await Caller(channel).outcome("Hello", Empty(), timeout=10))[0] == expected
    async with server(stored_hubs(), tls=files["server"]) as served, grpc.aio.insecure_channel(served.address) as channel:
        assert (await Caller(channel).outcome("Hello", Empty(), timeout=10))[0] == "UNAVAILABLE"


async def test_files_and_addresses_that_can_not_be_used_are_named(tmp_path: Path):
    missing = TlsFiles(certificate=tmp_path / "none.pem", key=tmp_path / "none.key")
    with pytest.raises(ServerSettingsError, match=r"none\.key' can't be read: No such file"):
        ProtocolServer(stored_hubs(), ProtocolSettings(tls=missing))
    async with server(stored_hubs()) as served:
        second = ProtocolServer(stored_hubs(), ProtocolSettings(port=served.port))
        with pytest.raises(ServerSettingsError, match=f"can't listen on 127.0.0.1:{served.port}"):
            await second.start()
