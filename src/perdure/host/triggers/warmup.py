"""Warm-up: functions that have run before the host answers its first request."""

from collections.abc import Iterable

from azure.functions.warmup import WarmUpContext

from perdure.host.model import TriggeredFunction, WarmupTrigger
from perdure.host.triggers.invoke import Invoker, log_failure


async def warm_up(functions: Iterable[TriggeredFunction], invoker: Invoker) -> None:
    """Runs all warm-up functions, one after the other. One that fails is logged and keeps nobody from being served."""
    for function in functions:
        if isinstance(function.trigger, WarmupTrigger):
            try:
                await invoker.call(function, {function.trigger.parameter: WarmUpContext()})
            except Exception as error:  # noqa: BLE001 - user code
                log_failure(function, error)
