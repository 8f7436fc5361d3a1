"""Values as azure-functions-durable writes and reads them, whichever release: what is the same around its own functions."""

from typing import Any

import msgspec

from perdure.core.converter import DeserializationError, JsonConverter, PayloadTooLargeError, SerializationError


class SdkConverter:
    """A ``Converter`` through the SDK, within the engine's payload limit. ``_dumps`` and ``_loads`` are the release's own."""

    _way_out: str
    """What to do with large data."""

    def __init__(self, standard: JsonConverter) -> None:
        self._max_payload_bytes = standard.max_payload_bytes

    def encode(self, value: object, what: str, name: str) -> str | None:
        """JSON text of ``value``; ``None`` for ``None``.

        Raises:
            SerializationError: the SDK can't write ``value``, or it contains NaN or an infinity.
            PayloadTooLargeError: the text is longer than the limit.
        """
        if value is None:
            return None
        try:
            text = self._dumps(value)
            if "NaN" in text or "Infinity" in text:
                msgspec.json.decode(text)  # the SDK writes them, but they aren't JSON: nobody else could read the history
        except Exception as error:
            raise SerializationError(
                f"{what} {name!r} can't be written as JSON: {error}. Convert it to plain JSON values, or give its class a "
                "to_json()/from_json() pair."
            ) from error
        size = len(text) if text.isascii() else len(text.encode())
        if size > self._max_payload_bytes:
            raise PayloadTooLargeError(
                f"{what} {name!r} takes {size:,} bytes of JSON; the limit (max_payload_bytes) is {self._max_payload_bytes:,}. "
                f"{self._way_out}, or raise the limit."
            )
        return text

    def decode(self, text: str | None, type_: object, what: str, name: str) -> Any:
        """The value that ``text`` stands for; ``type_`` is the SDK's ``expected_type``.

        Raises:
            DeserializationError: the SDK can't read it.
        """
        if text is None:
            return None
        try:
            return self._loads(text, type_)
        except Exception as error:
            raise DeserializationError(
                f"{what} {name!r} can't be read: {type(error).__name__}: {error}. Correct what sends it, or import the module of "
                "its class in the app."
            ) from error

    def _dumps(self, value: object) -> str:
        raise NotImplementedError

    def _loads(self, text: str, type_: object) -> Any:
        raise NotImplementedError
