"""What a call of ``start_new`` comes to: a message, sent at once or written in a transaction of the caller's."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from perdure.core import features
from perdure.core.context import function_name
from perdure.core.events import ExecutionStarted
from perdure.core.functions import Functions, no_orchestrator
from perdure.core.ids import check_instance_id, check_name
from perdure.core.messages import Message, ReusePolicy
from perdure.core.times import duration_us, to_us
from perdure.engine.clock import Clock
from perdure.engine.engine import Engine


class Starts:
    """Makes starts that are complete and allowed, as far as that can be told here. Any thread."""

    def __init__(
        self, engine: Engine, functions: Functions, clock: Clock, default_version: str | None, default_reuse_policy: ReusePolicy
    ) -> None:
        self._engine = engine
        self.functions = functions
        self._clock = clock
        self._default_version = default_version
        self._default_reuse_policy = default_reuse_policy

    def message(
        self,
        orchestration_function_name: str | Callable[..., Any],
        instance_id: str | None,
        client_input: Any,
        version: str | None,
        *,
        start_at: datetime | timedelta | None,
        tags: dict[str, str] | None,
        reuse_policy: ReusePolicy | None,
    ) -> Message:
        """See ``DurableClient.start_new`` for what it takes and raises."""
        name = function_name(orchestration_function_name)
        function = self.functions.orchestrators.get(name.casefold())
        if function is not None:
            name = function.name
        elif self._engine.remote is None:
            raise no_orchestrator(name, self.functions)
        random = os.urandom(32).hex()  # enough for both ids, since each call goes to the system
        if instance_id is None:
            instance_id = random[:32]  # 32 hex digits, as Durable Functions' ids are
        else:
            check_instance_id(instance_id)
        check_name(name, version)
        if isinstance(start_at, timedelta):
            start_us = self._clock.now_us() + duration_us(start_at)
        else:
            start_us = None if start_at is None else to_us(start_at)
        event = ExecutionStarted(
            name=name,
            execution_id=random[32:],
            input=self._engine.converter.encode(client_input, "input of orchestrator", name),
            version=self._default_version if version is None else version,
            tags=tags or {},
            start_at=start_us,
            features=features.CURRENT,
        )
        return Message(instance_id, event, reuse=reuse_policy or self._default_reuse_policy)

    def enlist(self, message: Message, connection: object) -> None:
        """Writes a start in the transaction on a blocking connection."""
        self._engine.enlist(message, connection)
