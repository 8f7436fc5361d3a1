"""Writes the reference pages that come from the source: ``python docs/_generate.py``. A test refuses stale ones."""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, this folder alone would be on the path

import perdure
from docs import _source as source
from perdure.core.codec import encode_segment
from perdure.core.entity_lock import FATES, Asks, Holder
from perdure.core.events import Action, ExecutionStarted, IncomingEvent, OrchestratorStarted, TaskCompleted, TaskScheduled
from perdure.core.status import TERMINAL_STATUSES, TRANSITIONS, Cause, OrchestrationRuntimeStatus

DOCS = Path(__file__).parent
_NOTE = "<!-- Written by docs/_generate.py from the source. Edit the docstrings there, then run `make docs`. -->"

GROUPS: dict[str, tuple[str, ...]] = {
    "The hub": ("TaskHub", "BlockingTaskHub", "EngineSettings", "RemoteSettings"),
    "Functions": ("DFApp", "Blueprint"),
    "Apps in a service of your own": ("asgi", "lifespan"),
    "SDKs of other languages": ("grpc_server", "ProtocolSettings", "TlsFiles"),
    "Orchestrators": ("DurableOrchestrationContext", "Task", "TimerTask", "EventTask", "RetryOptions"),
    "Entities": ("EntityId", "DurableEntityContext", "entity_context", "DurableEntity", "LockTask", "CriticalSection"),
    "Activities": ("activity_context", "ActivityContext", "CancellationToken"),
    "Clients": (
        "DurableClient",
        "DurableOrchestrationClient",
        "Client",
        "BlockingHttpClient",
        "DurableOrchestrationStatus",
        "OrchestrationRuntimeStatus",
        "ReusePolicy",
        "InstancePage",
        "PurgeHistoryResult",
        "EntityStateResponse",
        "EntityPage",
        "EntityStatus",
        "CleanEntityStorageResult",
        "FailureDetails",
    ),
}
"""The public names that aren't errors, in the order in which a reader meets them."""

_ATTRIBUTES = {
    "TaskHub": "`client` is its `DurableClient`. `hooks` takes a `perdure.engine.hooks.EngineHooks`, to be told what happens.",
    "BlockingTaskHub": "`client` has the methods of `DurableClient`, each of which blocks until the result is there.",
    "Task": "`is_completed` tells whether it has a value or an error.",
    "TimerTask": "`is_cancelled` tells whether it was cancelled.",
    "EventTask": "`name` is the event's name; `is_cancelled` tells whether the wait was given up.",
}
"""Attributes that are made in constructors, where nothing can stand below them."""

_SHOWN_BASES = {"LeafTask": "Task", "Task": "Task", "Blueprint": "Blueprint", "DurableClient": "DurableClient"}
"""Base classes whose members aren't repeated, with the public name under which they are found."""

_ERROR_RANGES = {
    "PD0": "Root",
    "PD10": "Ids",
    "PD11": "Failures, tasks and entities",
    "PD12": "Determinism",
    "PD13": "Answers to clients",
    "PD14": "Definitions of functions",
    "PD15": "Clients over HTTP",
    "PD20": "Payloads",
    "PD21": "Activities",
    "PD3": "Stores",
    "PD40": "Loading an app",
    "PD41": "Keys and the management API",
    "PD42": "Triggers and the server",
    "PD43": "Apps written for Azure",
    "PD44": "Durable Task protocol",
    "PD45": "Configuration",
    "PD46": "Command line",
    "PD9": "Bugs in Perdure",
    "PD": "Others",
}


@cache
def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    reference = DOCS / "reference"
    return {
        reference / "api.md": _api(),
        reference / "errors.md": _errors(),
        reference / "history-events.md": _history_events(),
        reference / "settings.md": _settings(),
        reference / "status.md": _status(),
    }


@cache
def error_classes() -> dict[str, tuple[str, ast.ClassDef]]:
    """Every class below ``PerdureError`` with its module, found in the source so that no optional driver has to be installed."""
    classes: dict[str, tuple[str, ast.ClassDef]] = {}
    for file in sorted(source.PACKAGE.rglob("*.py")):
        module = ".".join(file.relative_to(source.PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = (module, node)
    found = {"PerdureError"}
    while True:
        more = {name for name, (_, node) in classes.items() if {ast.unparse(base) for base in node.bases} & found} - found
        if not more:
            return {name: classes[name] for name in found}
        found |= more


def error_code(node: ast.ClassDef) -> str:
    """The code that the class body sets; empty if it sets none."""
    return next((ast.literal_eval(field.default or "''") for field in source.fields(node) if field.name == "code"), "")


def _api() -> str:
    out = [
        "# API",
        "",
        "Everything here is imported from `perdure` itself, usually as `import perdure as df`. What is not on this page is not",
        "public. The errors have [a page of their own](errors.md).",
    ]
    for title, names in GROUPS.items():
        out += ["", f"## {title}"]
        for name in names:
            out += ["", *_entry(name)]
    errors = [name for name in perdure.__all__ if name in error_classes()]
    out += [
        "",
        "## Errors",
        "",
        "All have `code` and `message`. `TaskFailedError` also has `details` (a `FailureDetails`), `task_id` and",
        "`is_caused_by(type_or_name)`. What each one means is in [Errors](errors.md).",
        "",
        *(f"- `{name}`" for name in errors),
    ]
    return _page(out)


def _entry(name: str) -> list[str]:
    node = source.definition(perdure._MODULES[name], name)  # noqa: SLF001 - the table of public names is what this page is about
    if not isinstance(node, ast.ClassDef):
        return [f"### `{name}`", "", *_callable(name, node)]
    out = [f"### `{name}`", ""]
    constructor = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    # Users make only the classes whose constructors are documented; the others come from the context or a hub.
    if constructor is not None and ast.get_docstring(constructor):
        out += _fence(f"{name}({source.parameters(constructor)})")
    out += [source.markdown(node), ""]
    if constructor is not None and ast.get_docstring(constructor):
        out += [source.markdown(constructor), ""]
    fields = [field for field in source.fields(node) if field.name != "code"]
    if fields:
        out += [*_field_table(fields), ""]
    if name in _ATTRIBUTES:
        out += [_ATTRIBUTES[name], ""]
    for base in node.bases:
        parent = _SHOWN_BASES.get(ast.unparse(base).partition("[")[0])
        if parent is not None:
            out += [f"Also has everything that `{parent}` has.", ""]
    for method in _methods(name, node):
        if name == "DurableOrchestrationContext" and method.name in {"custom_status_text", "next_generation"}:
            continue  # for the engine
        if name == "DurableEntityContext" and method.name in {"argument", "input_text", "outcome", "state_is_set", "text_of"}:
            continue  # for the engine, and for entities that are classes
        if "Task" in name and method.name in {"settle", "watch", "leads_to", "limit", "time_out"}:
            continue  # for the engine
        if name == "DFApp" and method.name == "functions":
            continue  # for the hub
        out += [f"#### `{name}.{method.name}`", "", *_callable(method.name, method)]
    return out


def _methods(name: str, node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """What the class has; triggers and bindings are mixed into blueprints."""
    yield from source.methods(node)
    if name == "Blueprint":
        mixed_in = source.methods(source.class_definition("app.bindings", "Bindings"))
        yield from (method for method in mixed_in if method.name != "described")  # for the host


def _callable(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if source.is_property(node):
        shown = f"{name}{returns.replace(' -> ', ': ')}"
    else:
        keyword = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
        shown = f"{keyword}{name}({source.parameters(node)}){returns}"
    return [*_fence(shown), source.markdown(node), ""]


def _fence(text: str) -> list[str]:
    if len(text) > 100 and "(" in text:
        head, _, rest = text.partition("(")
        inside, _, tail = rest.rpartition(")")
        text = f"{head}(\n" + "".join(f"    {part},\n" for part in _split(inside)) + f"){tail}"
    return ["```text", text, "```", ""]


def _split(parameters: str) -> list[str]:
    """Parameters at the commas outside of brackets."""
    parts, depth, start = list[str](), 0, 0
    for position, char in enumerate(parameters):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(parameters[start:position].strip())
            start = position + 1
    return [*parts, parameters[start:].strip()]


def _errors() -> str:
    out = [
        "# Errors",
        "",
        "Every error that Perdure raises on purpose derives from `perdure.PerdureError` and has a code that never changes its",
        "meaning. The code starts the message: `[PD1001] instance id '' can't be used: ...`. A code is never used again, even",
        "if its error goes away.",
        "",
        "Names without a dot before them can be imported from `perdure`. The others can be caught by a base class, or be met as",
        "the `type` of a `FailureDetails`.",
    ]
    classes = error_classes()
    rows: dict[str, list[str]] = {title: [] for title in _ERROR_RANGES.values()}
    for name, (module, node) in sorted(classes.items(), key=lambda item: (error_code(item[1][1]), item[0])):
        code = error_code(node)
        title = _ERROR_RANGES[max((prefix for prefix in _ERROR_RANGES if code.startswith(prefix)), key=len, default="PD")]
        shown = f"`{name}`" if name in perdure.__all__ else f"`perdure.{module}.{name}`"
        bases = ", ".join(f"`{ast.unparse(base)}`" for base in node.bases)
        text = " ".join(source.markdown(node).split())
        rows[title].append(f"| `{code}` | {shown} | {bases} | {text} |")
    for title, lines in rows.items():
        if not lines:
            continue
        out += ["", f"## {title}", "", "| code | error | base | meaning |", "|---|---|---|---|", *lines]
    return _page(out)


def _history_events() -> str:
    out = [
        "# History events",
        "",
        "A history is a sequence of turns, and each turn is stored as one segment: a JSON array of events. A turn begins with",
        "`OrchestratorStarted`. Then come the events that arrived, then one event per action of the code. So an action is the",
        "very event that records it ([decision 4](../decisions/0004-actions-are-events.md)).",
        "",
        "Fields that hold their default are left out. Payloads are JSON text inside a string. Times are microseconds since the",
        "Unix epoch, UTC. Task ids count from 0 in each generation, in the order in which the code asked.",
        "",
        "The first segment of an instance whose orchestrator calls one activity, and the second one, in which it returns:",
        "",
        "```json",
        *_example_segments(),
        "```",
        "",
        "## Begins a turn",
        "",
        *_event("OrchestratorStarted"),
        *_event("OrchestratorDecided"),
        "## Events that arrive",
        "",
    ]
    for cls in _members(IncomingEvent):
        out += _event(cls)
    out += ["## Actions of the code", ""]
    for cls in _members(Action):
        out += _event(cls)
    out += [
        "## Entities",
        "",
        "An entity has no history. Its first segment holds one event, which is replaced whenever the entity changes; where it",
        "only keeps back more than before, another segment says what. What is sent to it are the actions of orchestrations.",
        "",
        *_event("EntityStateSaved"),
        *_event("EntityBacklogExtended"),
        "## Parts of events",
        "",
        *_event("ParentLink"),
        *_event("EntityLock"),
        *_event("FailureDetails", "core.failures"),
    ]
    return _page(out)


def _members(union: object) -> list[str]:
    return [cls.__name__ for cls in union.__args__]  # type: ignore[attr-defined]


def _event(name: str, module: str = "core.events") -> list[str]:
    node = source.class_definition(module, name)
    out = [f"### `{name}`", "", source.markdown(node), ""]
    fields = source.fields(node)
    return [*out, *_field_table(fields), ""] if fields else out


def _example_segments() -> list[str]:
    first = [
        OrchestratorStarted(1_767_225_600_000_000),
        ExecutionStarted(name="hello", execution_id="6b4f0c2d8a5e4e3f9f4e0e3b9a7c1d20", input='"Tokyo"'),
        TaskScheduled(0, "say_hello", '"Tokyo"'),
    ]
    second = [OrchestratorStarted(1_767_225_600_042_000), TaskCompleted(0, '"Hello Tokyo!"')]
    segments = [encode_segment(events).decode() for events in (first, second)]
    return [segment.replace("},{", "},\n {") for segment in segments]


def _settings() -> str:
    fields = source.fields(source.class_definition("engine.settings", "EngineSettings"))
    out = [
        "# Settings",
        "",
        "`EngineSettings` holds the bounds of one engine. Pass one to the hub, and name only what you change:",
        "",
        "```python",
        "from datetime import timedelta",
        "",
        "import perdure as df",
        "",
        "settings = df.EngineSettings(max_activity_threads=8, drain_grace=timedelta(seconds=30))",
        'hub = df.TaskHub(df.DFApp(), "memory://", settings=settings)',
        "```",
        "",
        *_field_table(fields),
    ]
    return _page(out)


def _status() -> str:
    statuses = list(OrchestrationRuntimeStatus)
    reached = set(TRANSITIONS.values())
    out = [
        "# Status",
        "",
        "The life of an instance. A row is where it is, a column is what happens, a cell is where it gets to. An empty cell",
        "can't happen: what clients ask for in vain is answered before (a second `suspend` is accepted and changes nothing; an",
        "ended instance refuses everything but a second `terminate`, and a failed one `rewind`).",
        "",
        "| from | " + " | ".join(Cause) + " |",
        "|---|" + "---|" * len(Cause),
    ]
    for status in (None, *statuses):
        cells = [str(TRANSITIONS.get((status, cause), "")) for cause in Cause]
        if any(cells):
            out.append(f"| {status or '(none)'} | " + " | ".join(cells) + " |")
    out += [
        "",
        f"Ended: {_names(status for status in statuses if status in TERMINAL_STATUSES and status in reached)}.",
        "For good, but that `rewind` undoes the last turn of a failed instance, which is then what it was before.",
        "",
        f"Only for clients that know Durable Functions: {_names(status for status in statuses if status not in reached)}.",
        "",
        "`resumed` goes to Pending; an instance whose code had begun gets `begun` in the same moment, so clients see Running.",
        "An instance that was started with `start_at` is Pending until then.",
        "",
        "## Entities",
        "",
        "An entity is always Running. What becomes of a message depends on whom the entity belongs to at that moment: nobody,",
        "the orchestration that sent the message, or another one. A release is its sender's if it is for the critical section",
        "that holds the entity.",
        "",
        "| belongs to | " + " | ".join(Asks) + " |",
        "|---|" + "---|" * len(Asks),
        *(f"| {holder} | " + " | ".join(FATES[holder, asks] for asks in Asks) + " |" for holder in Holder),
    ]
    return _page(out)


def _names(statuses: Iterable[OrchestrationRuntimeStatus]) -> str:
    return ", ".join(f"`{status}`" for status in statuses)


def _field_table(fields: list[source.Field]) -> list[str]:
    rows = [
        f"| `{field.name}` | {_type(field.type)} | {f'`{field.default}`' if field.default else ''} | {field.text} |"
        for field in fields
    ]
    return ["| name | type | default | meaning |", "|---|---|---|---|", *rows]


def _type(text: str) -> str:
    """Without the bar of unions, which can't stand in a table in a way that all readers of Markdown understand."""
    return " or ".join(f"`{part}`" for part in text.split(" | "))


def _page(lines: list[str]) -> str:
    text = "\n".join([*lines[:2], _NOTE, "", *lines[2:]])
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip() + "\n"


def main() -> None:
    """Writes the pages that have changed."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()
