"""Whom a server without a keys file lets in: those who show a token, or, where there are none, this machine alone."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import Scope

from perdure.host.management.errors import RequestRefusedError
from perdure.host.management.requests import ManagementRequest
from perdure.protocol.access import is_known, is_loopback


class Callers:
    """The same rule as for gRPC. ``certified``: whoever can connect has shown a certificate, which is enough by itself."""

    def __init__(self, tokens: Iterable[str], *, certified: bool) -> None:
        self._tokens = sorted(tokens)
        self._certified = certified

    @property
    def secret(self) -> str:
        """What seals continuation tokens, so that they outlive a restart."""
        return "\n".join(self._tokens)

    def admit(self, request: ManagementRequest, scope: Scope) -> None:
        """Returns if the caller may go on.

        Raises:
            RequestRefusedError: it may not.
        """
        if self._tokens:
            self._check_token(self.shown(request))
        elif not self._certified:
            _check_local(request, scope)

    def shown(self, request: ManagementRequest) -> str | None:
        """The token that the caller shows, as a key or as a bearer."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        return request.text("code") or request.headers.get("x-functions-key") or bearer or None

    def _check_token(self, shown: str | None) -> None:
        if not is_known(shown, self._tokens):
            raise RequestRefusedError(
                401,
                "Unauthorized",
                "the token is missing or wrong: give it as ?code=TOKEN, x-functions-key: TOKEN or authorization: Bearer TOKEN",
            )


def _check_local(request: ManagementRequest, scope: Scope) -> None:
    """Keeps out other machines, web pages whose name leads to this one, and those that a browser here shows."""
    peer = scope.get("client")
    host = re.sub(r":\d+$", "", request.headers.get("host", "")).strip("[]")
    origin = request.headers.get("origin")
    foreign = origin is not None and not is_loopback(urlsplit(origin).hostname or "")
    if not (peer and is_loopback(peer[0]) and is_loopback(host)) or foreign:
        raise RequestRefusedError(403, "Forbidden", "without tokens, only programs on the server's own machine are served")
