"""Names by which functions of an app of azure-functions-durable 1.x call each other."""

from typing import Any, Literal

DurableTrigger = Literal["activityTrigger", "orchestrationTrigger", "entityTrigger"]
_NAME_FIELDS: dict[DurableTrigger, str] = {
    "activityTrigger": "activity",
    "orchestrationTrigger": "orchestration",
    "entityTrigger": "entityName",
}


def durable_name(trigger: dict[str, Any], function_name: str) -> str:
    """What a trigger calls its function: the name it was given there, else the function's."""
    return trigger.get(_NAME_FIELDS.get(trigger["type"], "")) or function_name


def called_name(function: Any, trigger: DurableTrigger) -> str:
    """The name that a string or a decorated function stands for.

    Raises:
        ValueError: it is something else, or was decorated with another trigger.
    """
    if isinstance(function, str):
        return function
    inner = getattr(function, "_function", None)
    if inner is None:
        raise ValueError(
            f"{function!r} is no decorated function. Pass the function's name, or decorate it with the app's decorators."
        )
    found = inner.get_trigger()
    if found is None or found.type != trigger:
        raise ValueError(
            f"function '{inner.get_function_name()}' has {found.type if found else 'no trigger'}, but is called as one that has "
            f"{trigger}. Call it by the right method, or decorate it otherwise."
        )
    return durable_name(found.get_dict_repr(), inner.get_function_name())
