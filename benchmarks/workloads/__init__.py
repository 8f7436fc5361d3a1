"""The workloads: one module per family, with ``cases(short=...)`` and ``run(parameters, directory)``."""

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
