"""``perdure store``: makes, moves and looks at the stores that keep task hubs."""

from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.errors import CommandError, ExitCode
from perdure.cli.options import JsonOption
from perdure.cli.printing import say, say_fields, say_json, say_table, tell
from perdure.cli.store_urls import refuse_memory, same_store, the_store, without_password

if TYPE_CHECKING:
    from perdure.store.contract import HubInfo

stores = typer.Typer(help="Make, move and look at the stores that keep task hubs.", no_args_is_help=True)
# As in perdure.cli.instances: nothing below is imported before a command runs that needs it.

StoreArgument = Annotated[str | None, typer.Argument(metavar="URL", help="The store; by default $PERDURE_STORE.")]
_StoreOption = Annotated[str | None, typer.Option("--store", metavar="URL", help="The same as the argument.")]


@stores.command("init")
def init(
    url: StoreArgument = None,
    store: _StoreOption = None,
    partitions: Annotated[
        int | None,
        typer.Option("--partitions", help="How many parts the work can be split into, for good; by default 16.", min=1, max=4096),
    ] = None,
) -> None:
    """Make a hub where there is none yet. Hosts do this by themselves, if they are allowed to."""
    url = the_store(url, store)
    info = _opened(url, partitions=partitions)
    if partitions not in (None, info.partition_count):
        raise CommandError(
            f"{without_password(url)} holds a hub with {info.partition_count} partitions already, and that stays. To change it, "
            "make another hub and move this one there with 'perdure store copy'."
        )
    say(f"{without_password(url)} is ready: schema version {info.schema_version}, {info.partition_count} partitions")


@stores.command("migrate")
def migrate(url: StoreArgument = None, store: _StoreOption = None) -> None:
    """Bring a hub's schema up to this release's version. Hosts do this by themselves, if they are allowed to."""
    url = the_store(url, store)
    say(f"{without_password(url)} has schema version {_opened(url, make=False).schema_version}")


@stores.command("status")
def status(url: StoreArgument = None, store: _StoreOption = None, as_json: JsonOption = False) -> None:
    """Show what a hub holds, what waits in it, and who works on it."""
    import asyncio

    from perdure.cli.store_status import store_status

    url = the_store(url, store)
    found = asyncio.run(store_status(url))
    if as_json:
        say_json(found.json())
        return
    say_fields(found.fields())
    for columns, rows in found.tables():
        say("")
        say_table(columns, rows)


@stores.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store to copy.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="A store with an empty hub, with none, or with an earlier copy.")],
    as_json: JsonOption = False,
) -> None:
    """Copy a hub with all that is in it, running instances too, into another store, and compare the two afterwards."""
    from perdure.cli.store_copy import copy_with_progress

    refuse_memory(source)
    target = the_store(target, None)
    if same_store(source, target):
        raise CommandError("FROM and TO are the same store.", ExitCode.USAGE)
    summary, seconds = copy_with_progress(source, target)
    numbers = {
        "instances": summary.instances,
        "skipped": summary.skipped,
        "segments": summary.segments,
        "messages": summary.messages,
        "bytes": summary.bytes,
        "seconds": round(seconds, 3),
    }
    if as_json:
        say_json(numbers)
    else:
        say(
            f"{summary.instances} instances are the same in both stores now, {summary.skipped} of them were before; wrote "
            f"{summary.segments} segments and {summary.messages} messages, {summary.bytes} bytes, in {seconds:.1f} s"
        )
    tell(
        "The source is as it was. Start hosts on the copy only: from the moment that it runs, starting one on the source again "
        "would do the same work twice."
    )


def _opened(url: str, *, partitions: int | None = None, make: bool = True) -> "HubInfo":
    import asyncio

    from perdure.store.opening import DEFAULT_PARTITION_COUNT, open_store

    async def opened() -> "HubInfo":
        opening = open_store(url, partition_count=partitions or DEFAULT_PARTITION_COUNT, make=make)
        try:
            return await opening.open()
        finally:
            await opening.close()

    return asyncio.run(opened())
