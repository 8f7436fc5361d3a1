"""The app of a hub all of whose code is in other processes."""

from collections.abc import Mapping
from types import MappingProxyType

from perdure.core.functions import ActivityFunction, EntityFunction, OrchestratorFunction


class NothingHere:
    """An app without functions."""

    orchestrators: Mapping[str, OrchestratorFunction] = MappingProxyType({})
    activities: Mapping[str, ActivityFunction] = MappingProxyType({})
    entities: Mapping[str, EntityFunction] = MappingProxyType({})

    def functions(self) -> "NothingHere":
        """Them."""
        return self
