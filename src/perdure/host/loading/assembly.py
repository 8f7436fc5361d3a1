"""Sorts declared functions into those that the engine runs and those that triggers run, and finds what is wrong with them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perdure.core.functions import ActivityFunction, EntityFunction, OrchestratorFunction
from perdure.host.loading.bindings import client_parameter, triggered_function
from perdure.host.loading.checks import DURABLE, check_durable, check_parameters, find_trigger, is_preview
from perdure.host.loading.declared import Binding, Declared
from perdure.host.loading.problems import Problem
from perdure.host.model import TriggeredFunction, WorkFunction, WorkFunctions


@dataclass
class AppFunctions:
    """The durable functions of an app written for azure-functions-durable, by case-folded name. Implements ``Functions``."""

    orchestrators: dict[str, OrchestratorFunction] = field(default_factory=dict[str, OrchestratorFunction])
    activities: dict[str, ActivityFunction] = field(default_factory=dict[str, ActivityFunction])
    entities: dict[str, EntityFunction] = field(default_factory=dict[str, EntityFunction])


@dataclass(frozen=True, slots=True)
class Assembled:
    """What an app written for azure-functions-durable has."""

    functions: AppFunctions
    triggered: tuple[TriggeredFunction, ...]
    work: WorkFunctions | None


def assemble_triggered(
    declared: Iterable[Declared], client_kind: Literal["perdure", "azure"], problems: list[Problem]
) -> list[TriggeredFunction]:
    """The functions of an app of which the durable ones are known already."""
    found: list[TriggeredFunction] = []
    for function in declared:
        trigger = find_trigger(function, problems)
        made = triggered_function(function, trigger, client_kind, problems) if trigger is not None else None
        if made is not None:
            found.append(made)
    return found


def assemble_azure(declared: Iterable[Declared], folder: Path, problems: list[Problem]) -> Assembled:
    """The functions of an app written for azure-functions-durable."""
    functions = AppFunctions()
    work: WorkFunctions | None = None
    others: list[Declared] = []
    for function in declared:
        trigger = find_trigger(function, [])  # its problems are found with those of the others
        if trigger is None or trigger["type"] not in DURABLE:
            others.append(function)
        elif check_durable(function, trigger, problems):
            if is_preview(trigger):
                work = work or WorkFunctions()
                _add_preview(functions, work, function, trigger, folder, problems)
            else:
                _add_durable(functions, function, trigger, folder, problems)
    triggered = tuple(assemble_triggered(others, "azure", problems))
    return Assembled(functions, triggered, work)


def check_names(declared: Iterable[Declared], problems: list[Problem]) -> None:
    """Makes sure that no two functions have the same name, in any case."""
    known: dict[str, Declared] = {}
    for function in declared:
        other = known.setdefault(function.name.casefold(), function)
        if other is not function:
            problems.append(_duplicate("functions", function, other.place))


def _add_durable(functions: AppFunctions, declared: Declared, trigger: Binding, folder: Path, problems: list[Problem]) -> None:
    # The packages of azure are there if there is an app that was written for them.
    from perdure.host.azure.entity import entity_function
    from perdure.host.azure.functions import activity_function, orchestrator_function
    from perdure.host.azure.names import durable_name

    name = durable_name(trigger, declared.name)
    key = name.casefold()
    if trigger["type"] == "activityTrigger":
        kind = "activities"
        context = check_parameters(declared, trigger, (), problems)
        made = activity_function(name, declared.call, str(trigger["name"]), context, folder)
        if functions.activities.setdefault(key, made) is made:
            return
    elif trigger["type"] == "orchestrationTrigger":
        kind = "orchestrators"
        orchestrator = orchestrator_function(name, declared.call)
        if functions.orchestrators.setdefault(key, orchestrator) is orchestrator:
            return
    else:
        kind = "entities"
        entity = entity_function(name, declared.call)
        if functions.entities.setdefault(key, entity) is entity:
            return
    problems.append(_same_name(declared, kind, name))


def _add_preview(
    functions: AppFunctions, work: WorkFunctions, declared: Declared, trigger: Binding, folder: Path, problems: list[Problem]
) -> None:
    from perdure.host.azure.names import durable_name
    from perdure.host.azure_preview.functions import activity_function

    name = durable_name(trigger, declared.name)
    key, parameter = name.casefold(), str(trigger["name"])
    others = [binding for binding in declared.bindings if binding["type"] != trigger["type"]]
    context = check_parameters(declared, trigger, others, problems)
    if trigger["type"] == "activityTrigger":
        clients = tuple(client_parameter(binding, "azure") for binding in others)
        activity = activity_function(name, declared.call, parameter, context=context, clients=clients, app=work, folder=folder)
        if functions.activities.setdefault(key, activity) is not activity:
            problems.append(_same_name(declared, "activities", name))
        return
    is_entity = trigger["type"] == "entityTrigger"
    made = WorkFunction(name, declared.call, declared.place, parameter, context)
    if (work.entities if is_entity else work.orchestrators).setdefault(key, made) is not made:
        problems.append(_same_name(declared, "entities" if is_entity else "orchestrators", name))


def _same_name(declared: Declared, kind: str, name: str) -> Problem:
    return Problem(declared.place, f"two {kind} have the name '{name}' (case does not matter)", "rename one of them.")


def _duplicate(kind: str, function: Declared, other: str) -> Problem:
    return Problem(
        function.place,
        f"two {kind} have the name '{function.name}' (case does not matter); the other one is at {other}",
        "rename one of them, or give it another name with @app.function_name.",
    )
