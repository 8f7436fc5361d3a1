"""From what people give on a command line or in a configuration to the settings of the gRPC server."""

from datetime import timedelta
from pathlib import Path

from perdure.protocol.errors import ServerSettingsError
from perdure.protocol.settings import ProtocolSettings, TlsFiles


def settings_from(
    *,
    host: str,
    port: int,
    token: str | None,
    token_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    max_message_bytes: int,
    drain_grace: timedelta,
) -> ProtocolSettings:
    """The settings; nothing that was given is left out of account.

    Raises:
        ServerSettingsError: options contradict each other, or the token file can't be used.
    """
    if (certificate is None) != (key is None) or (client_ca is not None and certificate is None):
        raise ServerSettingsError("TLS needs both --grpc-cert and --grpc-key, and --grpc-client-ca needs them too.")
    return ProtocolSettings(
        host=host,
        port=port,
        tls=None if certificate is None or key is None else TlsFiles(certificate=certificate, key=key, client_ca=client_ca),
        tokens=_tokens(token, token_file),
        max_message_bytes=max_message_bytes,
        drain_grace=drain_grace,
    )


def _tokens(token: str | None, file: Path | None) -> frozenset[str]:
    lines: list[str] = [] if token is None else [token]
    if file is not None:
        try:
            lines += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ServerSettingsError(f"the token file {file} can't be read: {error}. Correct its path.") from error
    tokens = frozenset(line.strip() for line in lines if line.strip())
    if not tokens and (token is not None or file is not None):
        # Nobody who asks for tokens means to let everybody in.
        raise ServerSettingsError("the token is empty, or the token file has none. Give one, or leave the option out.")
    return tokens
