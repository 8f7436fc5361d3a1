"""The workloads: one module per family, with ``cases(short=...)`` and ``run(parameters, directory)``."""

from importlib.util import find_spec
from types import ModuleType

from benchmarks.workloads import chain, cold_start, dormant, entities, fan_out, hello_cities, http, recovery, replay, starts

WORKLOADS: dict[str, ModuleType] = {
    "chain": chain,
    "starts": starts,
    "hello_cities": hello_cities,
    "fan_out": fan_out,
    "dormant": dormant,
    "entities": entities,
    "replay": replay,
    "recovery": recovery,
    "http": http,
    "cold_start": cold_start,
}
if find_spec("durabletask"):
    from benchmarks.workloads import protocol

    WORKLOADS["protocol"] = protocol

ON_POSTGRESQL: dict[str, ModuleType] = {}
"""Those of ``WORKLOADS`` that start a PostgreSQL server."""
if find_spec("asyncpg"):
    from benchmarks.workloads import engines, postgres, takeover

    ON_POSTGRESQL = {"postgres": postgres, "engines": engines, "takeover": takeover}
    WORKLOADS |= ON_POSTGRESQL


def by_default(*, short: bool) -> list[str]:
    """What runs if nobody names workloads."""
    return [name for name in WORKLOADS if name not in ON_POSTGRESQL or not (short or no_server())]


def no_server() -> str:
    """Why workloads on PostgreSQL can't run here, or nothing."""
    if not ON_POSTGRESQL:
        return "asyncpg isn't installed (pip install 'perdure[postgres]')"
    from tests.postgres import server_programs

    try:
        server_programs()
    except RuntimeError as error:
        return str(error)
    return ""
