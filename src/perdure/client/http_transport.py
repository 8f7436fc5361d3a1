"""How a request leaves and what is told when it can't: what both clients over HTTP share of their HTTP library."""

from typing import Any

try:
    import httpx
except ImportError as missing:
    raise ImportError("clients over HTTP need httpx: pip install 'perdure[host]'") from missing

from perdure.client.http_answers import Answer, HostUnreachableError
from perdure.client.http_operations import HttpOperations, Request

DEFAULT_TIMEOUT = 60.0
FAILURES = (httpx.RequestError, httpx.InvalidURL)
"""What the library raises when no answer came."""


def open_async(timeout: float, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Connections of the async client."""
    return httpx.AsyncClient(timeout=timeout, transport=transport)


def open_blocking(timeout: float, transport: httpx.BaseTransport | None) -> httpx.Client:
    """Connections of the blocking client."""
    return httpx.Client(timeout=timeout, transport=transport)


def read(response: httpx.Response) -> Answer:
    """The answer in a response."""
    return Answer(response.status_code, response.headers, response.content)


def arguments(operations: HttpOperations, request: Request) -> dict[str, Any]:
    """What the library's ``request`` takes."""
    return {
        "method": request.method,
        "url": f"{operations.links.base_url}/{request.path}",
        "params": operations.common_query | request.query,
        "headers": operations.common_headers | request.headers,
        "content": request.body,
    }


def unreachable(operations: HttpOperations, error: Exception) -> HostUnreachableError:
    """What the caller is told, with the remedy."""
    place = operations.links.base_url
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return HostUnreachableError(
            f"{place} isn't an address that can be called ({error}). Give one such as http://localhost:7071."
        )
    if isinstance(error, httpx.TimeoutException):
        return HostUnreachableError(
            f"the host at {place} did not answer in time ({type(error).__name__}); it may have acted. Ask for the status."
        )
    return HostUnreachableError(
        f"no host answers at {place} ({error or type(error).__name__}). Start one with 'perdure start', or correct the address."
    )
