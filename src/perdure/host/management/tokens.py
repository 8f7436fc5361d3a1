"""Continuation tokens: where a list goes on, sealed so that only what this hub gave out is taken back."""

import base64
import binascii
import hashlib
import hmac

from perdure.host.management.errors import BAD_ARGUMENTS, RequestRefusedError

_SEAL_BYTES = 16


class ContinuationTokens:
    """Seals positions. Tokens outlive a restart as long as the secret does, and never tell it."""

    def __init__(self, secret: str, hub_name: str) -> None:
        self._key = hashlib.sha256(f"perdure continuation token\0{hub_name}\0{secret}".encode()).digest()

    def seal(self, kind: str, position: str) -> str:
        """A token for a position in a list of this kind: letters, digits, ``-`` and ``_``."""
        data = position.encode()
        return base64.urlsafe_b64encode(self._seal(kind, data) + data).decode().rstrip("=")

    def open(self, kind: str, token: str) -> str:
        """The position; a token that was changed, or is of another list, is refused."""
        try:
            # The alphabet is checked, because the decoder skips what is outside of it.
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raw = b""
        seal, data = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(kind, data)):
            raise RequestRefusedError(
                400,
                BAD_ARGUMENTS,
                "the x-ms-continuation-token isn't one that this list has given out. Send it unchanged, or begin without one.",
            )
        return data.decode()

    def _seal(self, kind: str, data: bytes) -> bytes:
        return hmac.digest(self._key, kind.encode() + b"\0" + data, "sha256")[:_SEAL_BYTES]
