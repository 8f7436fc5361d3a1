"""Values of activities as azure-functions-durable 2.x writes and reads them: by its own converter."""

from functools import cache
from importlib import import_module
from typing import Any

import msgspec

from perdure.core.converter import DeserializationError, JsonConverter, PayloadTooLargeError, SerializationError


@cache
def _activity_trigger() -> Any:
    return import_module("azure.durable_functions.internal.converters").ActivityTriggerConverter


@cache
def _datum() -> Any:
    return import_module("azure.functions.meta").Datum


class PreviewConverter:
    """A ``Converter`` through the SDK, within the engine's payload limit. What the SDK keeps elsewhere is a reference here."""

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
            text: str = _activity_trigger().encode(value, expected_type=None).value
            if "NaN" in text or "Infinity" in text:
                msgspec.json.decode(text)  # the SDK writes them, but they aren't JSON: nobody else could read the history
        except Exception as error:
            raise SerializationError(
                f"{what} {name!r} can't be written as JSON: {error}. Convert it to plain JSON values, or give its class a "
                "to_json()/from_json() pair."
            ) from error
        size = len(text.encode())
        if size > self._max_payload_bytes:
            raise PayloadTooLargeError(
                f"{what} {name!r} takes {size:,} bytes of JSON; the limit (max_payload_bytes) is {self._max_payload_bytes:,}. "
                "Keep large data elsewhere (the SDK's configure_large_payloads does), or raise the limit."
            )
        return text

    def decode(self, text: str | None, type_: object, what: str, name: str) -> Any:
        """The value that ``text`` stands for. The SDK asks for no type here.

        Raises:
            DeserializationError: the SDK can't read it.
        """
        if text is None:
            return None
        try:
            return _activity_trigger().decode(_datum()(text, "json"), trigger_metadata=None)
        except Exception as error:
            raise DeserializationError(
                f"{what} {name!r} can't be read: {type(error).__name__}: {error}. Correct what sends it, or import the module of "
                "its class in the app."
            ) from error
