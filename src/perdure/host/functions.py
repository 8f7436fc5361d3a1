"""What the hub of a host runs: the app's durable functions, and the host's own."""

import dataclasses
from collections.abc import Iterable
from datetime import timedelta

from perdure.core.functions import ActivityFunction, Functions, OrchestratorFunction


class HostFunctions:
    """The app's functions and the built-in ones. Activities without a timeout of their own get ``functionTimeout``."""

    def __init__(
        self,
        functions: Functions,
        orchestrators: Iterable[OrchestratorFunction],
        activities: Iterable[ActivityFunction],
        timeout: timedelta | None,
    ) -> None:
        limited = {
            name: activity if activity.timeout is not None or timeout is None else dataclasses.replace(activity, timeout=timeout)
            for name, activity in functions.activities.items()
        }
        self.entities = functions.entities
        self.orchestrators = {**functions.orchestrators, **{built_in.name.casefold(): built_in for built_in in orchestrators}}
        self.activities = {**limited, **{built_in.name.casefold(): built_in for built_in in activities}}

    def functions(self) -> Functions:
        """What ``TaskHub`` asks for."""
        return self
