"""Options that several commands of ``perdure instances`` have."""

from typing import Annotated

import typer

InstanceArgument = Annotated[str, typer.Argument(metavar="INSTANCE_ID", help="The instance.")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The running host; by default $PERDURE_URL, or http://127.0.0.1:7071."),
]
CodeOption = Annotated[
    str | None,
    typer.Option("--code", metavar="KEY", help="Its key; by default $PERDURE_CODE, or that of the host in this folder."),
]
StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="Work on this store instead; on SQLite, while no host has it open.")
]
HubOption = Annotated[
    str | None, typer.Option("--hub", metavar="NAME", help="The task hub, where there are several: of 'perdure serve'.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; it is kept.")]
StatusOption = Annotated[
    list[str] | None, typer.Option("--status", "-s", metavar="STATUS", help="Only of this status; may be repeated.")
]
NameOption = Annotated[list[str] | None, typer.Option("--name", "-n", help="Only of this orchestrator; may be repeated.")]
PrefixOption = Annotated[str | None, typer.Option("--prefix", help="Only ids that begin so.")]
AfterOption = Annotated[
    str | None, typer.Option("--created-after", metavar="TIME", help="Only started since: an ISO time, or 2h.")
]
BeforeOption = Annotated[
    str | None, typer.Option("--created-before", metavar="TIME", help="Only started until: an ISO time, or 7d.")
]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up after so long.", min=0)]
