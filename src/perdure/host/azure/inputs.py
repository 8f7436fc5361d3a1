"""Inputs, which come as JSON text in a JSON string: the SDK encodes them twice."""

import json
from typing import Any

from perdure.host.azure import sdk


def input_value(text: str | None, expected_type: Any) -> Any:
    """The value of an orchestration's or an operation's input. Whoever posts plain JSON is understood too."""
    if text is None:
        return None
    loads = sdk.serialization().df_loads
    if not text.startswith('"'):
        return loads(text, expected_type=expected_type)
    quoted = json.loads(text)
    try:
        return loads(quoted, expected_type=expected_type)
    except json.JSONDecodeError:
        return quoted
