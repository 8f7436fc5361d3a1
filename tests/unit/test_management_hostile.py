"""Callers who mean harm, or nothing: always an answer below 500 that says what was wrong, and nothing is changed."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from starlette.applications import Starlette

import perdure as df
from perdure.client.links import ManagementLinks
from perdure.host.keys import HostKeys
from perdure.host.management import ManagementOptions, loopback_routes
from tests.unit.management_harness import BASE, Api, open_api


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"Message", "ExceptionMessage", "ExceptionType"}
    return body["Message"] + ": " + body["ExceptionMessage"]


async def raw(api: Api, method: str, path: bytes, query: bytes = b"code=system-key", **scope: Any) -> tuple[int, dict[str, Any]]:
    """A request as a server would hand it over, with bytes that an HTTP library wouldn't send."""
    sent: list[dict[str, Any]] = []
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return body.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    request = {
        "type": "http",
        "method": method,
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", b"h")],
        "scheme": "http",
        "server": ("h", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
        **scope,
    }
    await api.asgi(request, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"] or b"null")


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [None, "", " ", "wrong", "system-key ", "SYSTEM-KEY", "function-key", "system-keysystem-key", "\0", "é", "k" * 5000]
)
async def test_wrong_keys_are_401_whatever_they_ask_for(code: str | None) -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        query = {} if code is None else {"code": code}
        for method, path in (
            ("GET", "instances"),
            ("DELETE", "instances/e"),
            ("POST", "orchestrators/echo"),
            ("GET", "nothing"),
            ("GET", "openapi.json"),
        ):
            assert "key" in refused(await api.http.request(method, f"{BASE}/{path}", params=query), 401)
        assert len(await api.hub.client.get_status_all()) == 1


async def test_the_master_key_and_the_header_let_in() -> None:
    async with open_api() as api:
        assert (await api.http.get(f"{BASE}/instances", params={"code": "master-key"})).status_code == 200
        assert (await api.http.get(f"{BASE}/instances", headers={"x-functions-key": "system-key"})).status_code == 200
        assert (await api.http.get(f"{BASE}/instances", headers=[(b"x-functions-key", b"\xff")])).status_code == 401


async def test_without_keys_everybody_may_and_urls_carry_none() -> None:
    async with open_api(keys=None) as api:
        answer = await api.http.post(f"{BASE}/orchestrators/echo")
        assert answer.status_code == 202
        assert "code=" not in answer.text


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "orchestrators/echo"),
        ("PUT", "instances/e"),
        ("PATCH", "instances/e"),
        ("HEAD", "instances/e"),
        ("OPTIONS", "instances"),
        ("POST", "instances"),
        ("POST", "instances/e"),
        ("GET", "instances/e/terminate"),
        ("DELETE", "instances/e/restart"),
        ("POST", "instances/e/raiseEvent"),
        ("POST", "instances/e/raiseEvent/a/b"),
        ("POST", "instances//terminate"),
        ("POST", "orchestrators"),
        ("POST", "orchestrators/echo/e/f"),
        ("GET", "instances/e/../.."),
        ("POST", "openapi.json"),
        ("GET", "operationId"),
    ],
)
async def test_what_the_api_has_not_is_404(method: str, path: str) -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        status, _ = await raw(api, method, f"{BASE}/{path}".encode())
        assert status == 404
        assert [one.instance_id for one in await api.hub.client.get_status_all()] == ["e"]


BAD_IDS = ["%40entity%40key", "a%2Fb", "a%5Cb", "a%23b", "a%3Fb", "a%00b", "a%0Ab", "a%C2%85b", "x" * 257, "%E2%80" + "x"]


@pytest.mark.parametrize("encoded", BAD_IDS)
async def test_ids_that_cant_be_are_400_at_the_start_and_unknown_elsewhere(encoded: str) -> None:
    async with open_api() as api:
        status, body = await raw(api, "POST", f"{BASE}/orchestrators/echo/{encoded}".encode())
        assert status == 400
        assert body["Message"] == "One or more of the arguments submitted is incorrect"
        for method, rest in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/terminate"),
            ("POST", "/suspend"),
            ("POST", "/rewind"),
            ("POST", "/restart"),
        ):
            status, body = await raw(api, method, f"{BASE}/instances/{encoded}{rest}".encode())
            assert status in (400, 404), (method, rest)
        assert await api.hub.client.get_status_all() == []


@pytest.mark.parametrize(
    "instance_id", ["ä€😀", " ", "%", "a b", "a+b", "a&b=c", ".", "..", "'; DROP TABLE instances;--", "\u2028", "x" * 256]
)
async def test_ids_that_look_odd_work_everywhere(instance_id: str) -> None:
    async with open_api() as api:
        path = quote(instance_id, safe="").replace(".", "%2E")
        status, body = await raw(api, "POST", f"{BASE}/orchestrators/waiter/{path}".encode())
        assert (status, body["id"]) == (202, instance_id)
        status, body = await raw(api, "GET", f"{BASE}/instances/{path}".encode())
        assert (status, body["instanceId"]) == (202, instance_id)
        status, _ = await raw(api, "POST", f"{BASE}/instances/{path}/terminate".encode())
        assert status == 202
        status, body = await raw(api, "DELETE", f"{BASE}/instances/{path}".encode())
        assert (status, body) == (200, {"instancesDeleted": 1})


async def test_a_path_or_query_that_isnt_utf8_is_400() -> None:
    async with open_api() as api:
        for path, query in ((b"/instances/%FF", b""), (b"/instances/\xff", b""), (b"/instances", b"&instanceIdPrefix=%FF")):
            status, body = await raw(api, "GET", BASE.encode() + path, b"code=system-key" + query)
            assert status == 400
            assert "UTF-8" in body["ExceptionMessage"]


async def test_a_host_that_isnt_a_name_is_400_and_none_is_the_address() -> None:
    async with open_api() as api:
        for host in (b"", b'"><script>', b"a b", b"a\r\nx: y", b"\xff", b"h/evil?", b"x" * 300):
            status, body = await raw(api, "POST", f"{BASE}/orchestrators/echo".encode(), headers=[(b"host", host)])
            assert status == 400, host
            assert "Host" in body["ExceptionMessage"]
        assert await api.hub.client.get_status_all() == []
        status, body = await raw(api, "POST", f"{BASE}/orchestrators/echo".encode(), headers=[])
        assert body["statusQueryGetUri"].startswith("http://h:80/")


async def test_a_location_holds_nothing_but_printable_ascii() -> None:
    async with open_api() as api:
        await api.hub.client.start_new("waiter", "w")
        request = {"method": "GET", "path": f"{BASE}/instances/w".encode(), "query": b'code=system-key&x=\r\nSet-Cookie: a\xe9"<'}
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": request["method"],
            "path": request["path"].decode(),
            "raw_path": request["path"],
            "query_string": request["query"],
            "headers": [(b"host", b"h")],
        }
        await api.asgi(scope, receive, send)
        location = dict(sent[0]["headers"])[b"location"]
        assert sent[0]["status"] == 202
        assert all(0x20 < byte < 0x7F for byte in location)


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        (
            "instances",
            "createdTimeFrom",
            ["yesterday", "2026-13-01", "2026-01-01T25:00", "0", "99999-01-01", "-1", "x" * 9000],
        ),
        ("instances", "createdTimeTo", ["2026-02-30", "now()", "NaN"]),
        ("instances", "runtimeStatus", ["Runing", "Completed,Nope", "1"]),
        ("instances", "top", ["0", "-1", "1.5", "many", "1e3", "9" * 5000]),
        ("instances", "showInput", ["yes", "1", "tru"]),
        ("instances/e", "showHistory", ["yes"]),
        ("instances/e", "returnInternalServerErrorOnFailure", ["maybe"]),
    ],
)
async def test_parameters_that_cant_be_understood_are_400_and_named(path: str, name: str, values: Iterable[str]) -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        for value in values:
            message = refused(await api.get(path, query={name: value}), 400)
            assert f"'{name}'" in message
            assert len(message) < 500


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e999", "soon", "0x10"])
@pytest.mark.parametrize("name", ["timeout", "pollingInterval"])
async def test_times_to_wait_that_arent_are_400_and_nothing_starts(name: str, value: str) -> None:
    async with open_api() as api:
        refused(await api.post("orchestrators/echo", query={"timeout": "5", "pollingInterval": "1", name: value}), 400)
        refused(await api.post("instances/e/restart", query={name: value}), 400)
        assert await api.hub.client.get_status_all() == []


async def test_an_interval_longer_than_the_timeout_is_400_and_nothing_starts() -> None:
    async with open_api() as api:
        assert "timeout" in refused(await api.post("orchestrators/echo", query={"timeout": "1", "pollingInterval": "2"}), 400)
        assert await api.hub.client.get_status_all() == []


async def test_a_purge_with_a_bad_end_purges_nothing() -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        refused(await api.delete("instances", query={"createdTimeFrom": "2000-01-01", "createdTimeTo": "2001-31-12"}), 400)
        refused(await api.delete("instances", query={"createdTimeFrom": "2000-01-01", "runtimeStatus": "Compleet"}), 400)
        assert len(await api.hub.client.get_status_all()) == 1


async def test_edges_of_time_and_page_size_are_understood() -> None:
    async with open_api() as api:
        await api.ended("echo", "e")
        query = {
            "createdTimeFrom": "0001-01-01T00:00:00+14:00",
            "createdTimeTo": "9999-12-31T23:59:59.9999999-14:00",
            "top": "999999999999999999",
        }
        assert len((await api.get("instances", query=query)).json()) == 1


async def test_too_many_parameters_are_400_and_unknown_ones_are_ignored() -> None:
    async with open_api() as api:
        assert "200" in refused(await api.http.get(f"{BASE}/instances?code=system-key" + "&a=b" * 300), 400)
        assert (await api.get("instances", query={"operationId": "x", "": "", "a[b]": "c"})).status_code == 200
        assert (await api.get("instances", query={"instanceIdPrefix": "%" * 5000})).json() == []


# --- bodies -----------------------------------------------------------------------------------------------------------

BAD_JSON = [
    b"{",
    b"nope",
    b"{'a': 1}",
    b'"a',
    b"[1,]",
    b"\xff",
    b'"\xed\xa0\x80"',
    b'"\\ud800"',
    b"1e999",
    b"NaN",
    b"1 2",
    b"[" * 100_000,
    b"1" * 5000,
    b"\x00",
]


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: repr(body[:12]))
async def test_bodies_that_arent_json_are_400_and_nothing_happens(body: bytes) -> None:
    async with open_api() as api:
        await api.hub.client.start_new("waiter", "w")
        headers = {"content-type": "application/json"}
        for path in ("orchestrators/echo", "instances/w/raiseEvent/go"):
            answer = await api.post(path, content=body, headers=headers)
            assert refused(answer, 400).startswith("Invalid JSON content")
        assert [one.runtime_status for one in await api.hub.client.get_status_all()] == [df.OrchestrationRuntimeStatus.Running]


async def test_an_empty_event_is_not_json_but_an_empty_input_is_null() -> None:
    async with open_api() as api:
        await api.hub.client.start_new("waiter", "w")
        refused(await api.post("instances/w/raiseEvent/go", headers={"content-type": "application/json"}), 400)
        assert (await api.post("orchestrators/echo", content=b" \r\n", query={"timeout": "30"})).json() is None


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":2}', b"123456789012345678901234567890", b'"\\u0000"', b"\xef\xbb\xbf[1]", b"[" * 400 + b"]" * 400]
)
async def test_odd_json_comes_back_as_what_it_says(body: bytes) -> None:
    async with open_api() as api:
        answer = await api.post("orchestrators/echo", content=body, query={"timeout": "30"})
        assert (answer.status_code, answer.json()) == (200, json.loads(body.removeprefix(b"\xef\xbb\xbf")))
        [listed] = (await api.get("instances")).json()
        assert listed["input"] == listed["output"] == answer.json()


async def test_bodies_over_the_bound_are_413_whether_announced_or_not() -> None:
    async with open_api(options=ManagementOptions(max_body_bytes=1000)) as api:
        fits, too_large = b'"' + b"x" * 998 + b'"', b'"' + b"x" * 999 + b'"'

        async def streamed(body: bytes) -> Any:
            yield body[:500]
            yield body[500:]

        assert (await api.post("orchestrators/echo", content=fits)).status_code == 202
        assert (await api.post("orchestrators/echo", content=streamed(fits))).status_code == 202
        refused(await api.post("orchestrators/echo", content=too_large), 413)
        refused(await api.post("orchestrators/echo", content=streamed(too_large)), 413)
        refused(await api.post("orchestrators/echo", content=b"1", headers={"content-length": "9" * 30}), 413)
        assert len(await api.hub.client.get_status_all()) == 2


async def test_payloads_over_the_bound_of_the_hub_are_413() -> None:
    async with open_api(settings=df.EngineSettings(max_payload_bytes=100)) as api:
        assert "PD2003" in refused(await api.post("orchestrators/echo", json="x" * 100), 413)
        await api.hub.client.start_new("waiter", "w")
        refused(await api.post("instances/w/raiseEvent/go", json="x" * 100), 413)


async def test_a_caller_that_hangs_up_while_sending_starts_nothing() -> None:
    async with open_api() as api:
        parts = [{"type": "http.request", "body": b'"x', "more_body": True}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return parts.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        path = f"{BASE}/orchestrators/echo"
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"code=system-key", "headers": [(b"host", b"h")]}
        await api.asgi(scope, receive, send)
        assert sent == []
        assert await api.hub.client.get_status_all() == []


# --- the door for SDK clients on the same machine ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:17071", 202),
        ("127.0.0.1", "localhost:17071", 202),
        ("::1", "[::1]:17071", 202),
        ("127.0.0.1", "127.0.0.1", 202),
        ("10.0.0.7", "127.0.0.1:17071", 403),
        ("127.0.0.1", "rebound.example.org:17071", 403),
        ("127.0.0.1", "localhost.example.org", 403),
        ("127.0.0.1", "", 403),
    ],
)
async def test_the_loopback_door_opens_to_this_machine_alone(peer: str, host: str, status: int) -> None:
    async with open_api() as api:
        links = ManagementLinks(f"https://public{BASE}", "Hub", "Storage", HostKeys.generate().durable_task_key)
        asgi = Starlette(routes=loopback_routes(api.hub.client, "Hub", links))
        transport = httpx.ASGITransport(asgi, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://h") as http:
            answer = await http.post("/durabletask/orchestrators/echo", json="1", headers={"host": host})
            assert answer.status_code == status
            if status == 202:
                assert answer.json()["statusQueryGetUri"].startswith(f"https://public{BASE}/instances/")
