"""Values on the wire as azure-functions-durable 1.7 writes and reads them: by its own functions, ``__class__`` markers too."""

import json
from typing import Any

import msgspec

from perdure.core.converter import DeserializationError, JsonConverter, PayloadTooLargeError, SerializationError
from perdure.host.azure import sdk

_PLAIN = frozenset({str, int, float, bool, list, dict})


class AzureConverter:
    """A ``Converter`` through the SDK's ``df_dumps`` and ``df_loads``, within the engine's payload limit."""

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
            text = _dumps(value)
            if "NaN" in text or "Infinity" in text:
                msgspec.json.decode(text)  # the SDK writes them, but they aren't JSON: nobody else could read the history
        except Exception as error:
            raise SerializationError(
                f"{what} {name!r} can't be written as JSON: {error}. Convert it to plain JSON values, or give its class a "
                "to_json()/from_json() pair."
            ) from error
        if len(text) > self._max_payload_bytes:  # ASCII only: characters are bytes
            raise PayloadTooLargeError(
                f"{what} {name!r} takes {len(text):,} bytes of JSON; the limit (max_payload_bytes) is {self._max_payload_bytes:,}"
                ". Keep large data elsewhere and pass a reference to it, or raise the limit."
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
            # The SDK comes to the same, many times slower, where nothing is marked as an object of a class.
            plain = type_ is None and "__class__" not in text and "\\u" not in text
            return json.loads(text) if plain else sdk.serialization().df_loads(text, expected_type=type_)
        except Exception as error:
            raise DeserializationError(
                f"{what} {name!r} can't be read: {type(error).__name__}: {error}. Correct what sends it, or import the module of "
                "its class in the app."
            ) from error


def _dumps(value: object) -> str:
    if value.__class__ in _PLAIN:
        try:
            return json.dumps(value)  # what the SDK does, with an encoder that is made only once
        except TypeError:
            pass  # custom objects inside
    return sdk.serialization().df_dumps(value)
