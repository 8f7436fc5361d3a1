"""``perdure instances``: one command for each thing that can be done with instances."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.errors import CommandError, ExitCode
from perdure.cli.options import (
    AfterOption,
    BeforeOption,
    CodeOption,
    HubOption,
    InstanceArgument,
    JsonOption,
    NameOption,
    PrefixOption,
    ReasonOption,
    StatusOption,
    StoreOption,
    TimeoutOption,
    UrlOption,
)
from perdure.cli.printing import say, say_fields, say_json, say_table, short, status_json, tell
from perdure.cli.targets import Target
from perdure.cli.values import json_value

if TYPE_CHECKING:
    from perdure.cli.stored import StoredInstances
    from perdure.client.http import Client
    from perdure.client.models import DurableOrchestrationStatus

instances = typer.Typer(help="Start, ask and steer instances, of a running host or in a store.", no_args_is_help=True)
# Nothing below is imported before a command runs that needs it, so that `perdure --help` stays fast.


@instances.command("start")
def start_instance(
    name: Annotated[str, typer.Argument(metavar="ORCHESTRATOR", help="The orchestrator's name.")],
    instance_id: Annotated[str | None, typer.Option("--id", help="The new instance's id; by default one is made up.")] = None,
    data: Annotated[
        str | None, typer.Option("--input", "-i", metavar="JSON", help="Its input: JSON, @FILE, or - for standard input.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Its version.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended, and show it.")] = False,
    timeout: TimeoutOption = None,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start an orchestration; prints its instance id."""
    value = json_value(data, "--input")

    async def started(client: "Client | StoredInstances") -> "tuple[str, DurableOrchestrationStatus | None]":
        new_id = await client.start_new(name, instance_id, value, version)
        return new_id, await _ended(client, new_id, timeout) if wait else None

    new_id, status = Target(url, code, store, hub).run(started)
    if status is not None:
        _show(status, as_json)
        _succeed(status)
    elif as_json:
        say_json({"instanceId": new_id})
    else:
        say(new_id)


@instances.command("list")
def list_instances(
    status: StatusOption = None,
    name: NameOption = None,
    prefix: PrefixOption = None,
    created_after: AfterOption = None,
    created_before: BeforeOption = None,
    limit: Annotated[int, typer.Option("--limit", help="Show at most so many.", min=1)] = 100,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
) -> None:
    """List instances, ordered by id."""
    from perdure.cli.filters import Filter

    wanted = Filter.of(status, name, prefix, created_after, created_before)
    found = Target(url, code, store, hub).run(lambda client: wanted.matching(client, limit + 1))
    shown = found[:limit]
    if as_json:
        say_json([status_json(each) for each in shown])
    elif shown:
        say_table(
            ("INSTANCE", "ORCHESTRATOR", "STATUS", "CREATED", "UPDATED", "CUSTOM STATUS"),
            [
                (it.instance_id, it.name, str(it.runtime_status), it.created_time, it.last_updated_time, it.custom_status)
                for it in shown
            ],
        )
    if len(found) > limit:
        tell(f"there are more; --limit {limit * 10} shows more of them")
    elif not found:
        tell("no instance matches")


@instances.command("show")
def show(
    instance_id: InstanceArgument,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one instance: status, input, output."""
    _show(Target(url, code, store, hub).run(lambda client: _existing(client, instance_id, show_input=True)), as_json)


@instances.command("history")
def history(
    instance_id: InstanceArgument,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what has happened in an instance."""
    status = Target(url, code, store, hub).run(
        lambda client: _existing(client, instance_id, show_history=True, show_history_output=True, show_input=True)
    )
    events = status.history or []
    if as_json:
        say_json(events)
        return
    say_table(
        ("TIME", "EVENT", "FUNCTION", "DETAIL"),
        [
            (
                str(event.get("Timestamp", ""))[:23],
                event.get("EventType"),
                event.get("FunctionName") or event.get("Name"),
                next((event[key] for key in ("Reason", "Result", "Input", "FireAt") if event.get(key) is not None), None),
            )
            for event in events
        ],
    )


@instances.command("wait")
def wait_for(
    instance_id: InstanceArgument,
    timeout: TimeoutOption = None,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until an instance has ended; exits 0 if it completed, 1 otherwise, 5 when time is up."""

    async def ended(client: "Client | StoredInstances") -> "DurableOrchestrationStatus":
        await _existing(client, instance_id)
        return await _ended(client, instance_id, timeout)

    status = Target(url, code, store, hub).run(ended)
    _show(status, as_json)
    _succeed(status)


@instances.command("raise-event")
def raise_event(
    instance_id: InstanceArgument,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The event's name.")],
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="JSON", help="Its payload: JSON, @FILE, or - for standard input.")
    ] = None,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
) -> None:
    """Send an instance an external event."""
    value = json_value(data, "--data")
    Target(url, code, store, hub).run(lambda client: client.raise_event(instance_id, event, value))
    say(f"event '{event}' sent to {instance_id}")


@instances.command("terminate")
def terminate(
    instance_id: InstanceArgument,
    reason: ReasonOption = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Its sub-orchestrations too.")] = False,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
) -> None:
    """End an instance at once."""

    async def end(client: "Client | StoredInstances") -> str:
        status = await _existing(client, instance_id)
        if status.is_terminal:
            return f"has ended already; its status is {status.runtime_status}"
        await client.terminate(instance_id, reason, recursive=recursive)
        return "terminated"

    say(f"{instance_id} {Target(url, code, store, hub).run(end)}")


@instances.command("suspend")
def suspend(
    instance_id: InstanceArgument,
    reason: ReasonOption = None,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
) -> None:
    """Let an instance pause until it is resumed."""
    Target(url, code, store, hub).run(lambda client: client.suspend(instance_id, reason))
    say(f"{instance_id} suspended")


@instances.command("resume")
def resume(
    instance_id: InstanceArgument,
    reason: ReasonOption = None,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
) -> None:
    """Let a suspended instance go on."""
    Target(url, code, store, hub).run(lambda client: client.resume(instance_id, reason))
    say(f"{instance_id} resumed")


@instances.command("rewind")
def rewind(
    instance_id: InstanceArgument,
    reason: ReasonOption = None,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
) -> None:
    """Let a failed instance try again what failed."""
    Target(url, code, store, hub).run(lambda client: client.rewind(instance_id, reason or ""))
    say(f"{instance_id} rewound")


@instances.command("restart")
def restart(
    instance_id: InstanceArgument,
    same_id: Annotated[bool, typer.Option("--same-id", help="Replace the instance instead of starting another one.")] = False,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
) -> None:
    """Start an instance again with the same input; prints the new id."""
    say(Target(url, code, store, hub).run(lambda client: client.restart(instance_id, not same_id)))


@instances.command("purge")
def purge(
    instance_ids: Annotated[list[str] | None, typer.Argument(metavar="INSTANCE_ID", help="These; or use filters.")] = None,
    status: StatusOption = None,
    name: NameOption = None,
    prefix: PrefixOption = None,
    created_after: AfterOption = None,
    created_before: BeforeOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All instances that have ended.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    url: UrlOption = None,
    code: CodeOption = None,
    store: StoreOption = None,
    hub: HubOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete instances that have ended, with all that is stored of them."""
    from perdure.cli.filters import Filter
    from perdure.cli.purging import purge_ids, purge_matching

    wanted = Filter.of(status, name, prefix, created_after, created_before)
    target = Target(url, code, store, hub)
    if instance_ids:
        if not wanted.is_empty or everything:
            raise CommandError("Give instance ids or filters, not both.", ExitCode.USAGE)
        deleted = target.run(lambda client: purge_ids(client, instance_ids))
    else:
        if wanted.is_empty and not everything:
            raise CommandError("Say which: instance ids, filters such as --status Completed, or --all.", ExitCode.USAGE)
        deleted = target.run(lambda client: purge_matching(client, wanted, ask=not yes))
    if as_json:
        say_json({"instancesDeleted": deleted})
    else:
        say(f"{deleted} deleted")


async def _existing(client: "Client | StoredInstances", instance_id: str, **wanted: bool) -> "DurableOrchestrationStatus":
    status = await client.get_status(instance_id, **wanted)
    if not status:
        raise CommandError(
            f"there is no instance '{instance_id}'. 'perdure instances list' shows those that exist.", ExitCode.NOT_FOUND
        )
    return status


async def _ended(client: "Client | StoredInstances", instance_id: str, timeout: float | None) -> "DurableOrchestrationStatus":
    try:
        return await client.wait_for_completion(instance_id, timeout, show_input=True)
    except TimeoutError:
        raise CommandError(f"instance '{instance_id}' has not ended after {timeout:g} s; it goes on.", ExitCode.TIMEOUT) from None


def _show(status: "DurableOrchestrationStatus", as_json: bool) -> None:
    if as_json:
        say_json(status_json(status))
        return
    fields: dict[str, Any] = {
        "instance": status.instance_id,
        "orchestrator": status.name,
        "version": status.version or None,
        "status": str(status.runtime_status),
        "created": status.created_time,
        "updated": status.last_updated_time,
        "custom status": status.custom_status,
        "input": status.input_,
        "output": short(status.output, 2000) if status.output is not None else None,
    }
    say_fields(fields)


def _succeed(status: "DurableOrchestrationStatus") -> None:
    if str(status.runtime_status) != "Completed":
        raise typer.Exit(ExitCode.FAILED)
