"""Values of activities as azure-functions-durable 2.x writes and reads them: by its own converter."""

from functools import cache
from importlib import import_module
from typing import Any

from perdure.host.sdk_converter import SdkConverter


@cache
def _activity_trigger() -> Any:
    return import_module("azure.durable_functions.internal.converters").ActivityTriggerConverter


@cache
def _datum() -> Any:
    return import_module("azure.functions.meta").Datum


class PreviewConverter(SdkConverter):
    """A ``Converter`` through the SDK, which asks for no type here. What the SDK keeps elsewhere is a reference here."""

    _way_out = "Keep large data elsewhere (the SDK's configure_large_payloads does)"

    def _dumps(self, value: object) -> str:
        text: str = _activity_trigger().encode(value, expected_type=None).value
        return text

    def _loads(self, text: str, type_: object) -> Any:
        return _activity_trigger().decode(_datum()(text, "json"), trigger_metadata=None)
