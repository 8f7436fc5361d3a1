"""Who may call: bearer tokens, and which addresses may be served without any."""

import hmac
import ipaddress
import ssl
from collections.abc import Iterable

from perdure.protocol.errors import ServerSettingsError
from perdure.protocol.settings import ProtocolSettings, TlsFiles


def is_known(shown: str | None, known: Iterable[str]) -> bool:
    """Whether it is one of the ``known`` secrets. All of them are compared, so that the time doesn't tell which one it was."""
    given = (shown or "").encode(errors="surrogatepass")
    return sum(hmac.compare_digest(given, secret.encode()) for secret in known) > 0


class UnauthenticatedError(Exception):
    """The caller shows no token that the server knows."""


class Gate:
    """Lets in who shows a known token; everybody, where there are no tokens."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = list(tokens)

    def check(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Returns if the caller may go on.

        Raises:
            UnauthenticatedError: it may not.
        """
        if not self._tokens:
            return
        given = next((value for key, value in metadata if key.lower() == "authorization"), "")
        scheme, _, token = (given if isinstance(given, str) else given.decode("latin-1")).partition(" ")
        known = is_known(token.strip(), self._tokens)
        if scheme.lower() != "bearer" or not known:
            raise UnauthenticatedError("this server wants the metadata 'authorization: Bearer TOKEN' with one of its tokens")


def check_reach(settings: ProtocolSettings) -> None:
    """Guarantees that nobody but this machine is served without authentication.

    Raises:
        ServerSettingsError: the address is public, and neither tokens nor client certificates are asked for.
    """
    authenticated = bool(settings.tokens) or (settings.tls is not None and settings.tls.client_ca is not None)
    if not authenticated and not is_loopback(settings.host):
        raise ServerSettingsError(
            f"the gRPC server would let everybody in who reaches {settings.host}. Ask for a token "
            "(--grpc-token-file) or for client certificates (--grpc-client-ca), or listen on 127.0.0.1."
        )


def credentials(files: TlsFiles) -> ssl.SSLContext:
    """The server's side of TLS.

    Raises:
        ServerSettingsError: a file can't be read, or isn't what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        for path in (files.key, files.certificate, files.client_ca):
            if path is not None:
                path.read_bytes()  # ssl doesn't say which one it can't read
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files.client_ca)
    except ssl.SSLError as error:
        raise ServerSettingsError(f"the TLS files can't be used: {error}. Are certificate and key no pair, or not PEM?") from None
    except OSError as error:
        raise ServerSettingsError(f"the TLS file '{error.filename}' can't be read: {error.strerror}. Correct its path.") from None
    return context


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
