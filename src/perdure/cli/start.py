"""``perdure start``: serves an app until Ctrl-C."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli import garbage
from perdure.cli.errors import CommandError, ExitCode
from perdure.cli.folders import FolderArgument, app_folder
from perdure.cli.grpc_options import (
    GrpcCertOption,
    GrpcClientCaOption,
    GrpcKeyOption,
    GrpcPortOption,
    GrpcTokenFileOption,
    GrpcTokenOption,
)
from perdure.cli.printing import tell


def start(
    path: FolderArgument = Path(),
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 7071 by default, 0 takes a free one.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Where the hub is kept: sqlite:///FILE.db, postgresql://USER@HOST/DATABASE or memory://.")
    ] = None,
    hub: Annotated[str | None, typer.Option(help="Name of the task hub.")] = None,
    keys_file: Annotated[str | None, typer.Option(help="File with the keys; made where there is none.")] = None,
    role: Annotated[
        str | None, typer.Option(help="What it does for a shared hub: all, worker, owner or http; all by default.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error or critical.")] = None,
    grpc: Annotated[
        bool, typer.Option("--grpc", help="Serve the Durable Task SDKs over gRPC too; workers run what the app lacks.")
    ] = False,
    grpc_host: Annotated[str | None, typer.Option(help="Address to listen on for gRPC; 127.0.0.1 by default.")] = None,
    grpc_port: GrpcPortOption = None,
    grpc_token: GrpcTokenOption = None,
    grpc_token_file: GrpcTokenFileOption = None,
    grpc_cert: GrpcCertOption = None,
    grpc_key: GrpcKeyOption = None,
    grpc_client_ca: GrpcClientCaOption = None,
    processes: Annotated[int, typer.Option(help="So many processes share the port and the hub.", min=1, max=1024)] = 1,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when a file of the app changes.")] = False,
    member: Annotated[str | None, typer.Option(hidden=True, help="Given to each of several processes by the first.")] = None,
) -> None:
    """Serve the app in a folder: its triggers, and the durable management API."""
    from perdure.host.configuration import load_settings

    folder = app_folder(path)
    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "store": store,
        "hub_name": hub,
        "keys_file": keys_file,
        "role": role,
        "log_level": log_level,
        "grpc": grpc or None,
        "grpc_host": grpc_host,
        "grpc_port": grpc_port,
        "grpc_token": grpc_token,
        "grpc_token_file": grpc_token_file,
        "grpc_cert": grpc_cert,
        "grpc_key": grpc_key,
        "grpc_client_ca": grpc_client_ca,
    }
    if reload and processes > 1:
        raise CommandError("--reload and --processes exclude each other. Give one of them.", ExitCode.USAGE)
    if reload:
        from perdure.cli.reloading import serve_and_reload

        load_settings(folder, flags)  # a wrong flag ends this at once
        serve_and_reload(folder, flags)
        return
    garbage.no_collections()
    settings = load_settings(folder, flags)
    if member is None:
        for warning in settings.warnings:
            tell(f"warning: {warning}")
    if settings.grpc and processes > 1:
        # A worker gets the work of the process that its connection came to, and the others' would wait for ever.
        raise CommandError(
            "--grpc and --processes exclude each other: each worker is connected to one process. Start several hosts with one "
            "process and a --grpc-port each, and connect workers to every one of them.",
            ExitCode.USAGE,
        )
    try:
        if processes > 1:
            from perdure.cli.processes import serve_with_processes

            raise typer.Exit(serve_with_processes(folder, flags, settings, processes))
        from perdure.cli.child import Child
        from perdure.cli.serving import serve
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the host needs the package that has '{error.name}'. Run: pip install 'perdure[host]'", ExitCode.USAGE
        ) from error
    settings.apply_values(os.environ)
    serve(folder, settings, None if member is None else Child.of(member))
