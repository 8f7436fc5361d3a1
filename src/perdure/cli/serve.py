"""``perdure serve``: task hubs for the Durable Task SDKs of every language, until Ctrl-C."""

import os
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from perdure.cli.grpc_options import (
    TOKEN_VARIABLE,
    GrpcCertOption,
    GrpcClientCaOption,
    GrpcKeyOption,
    GrpcPortOption,
    GrpcTokenFileOption,
    GrpcTokenOption,
)


class LogLevel(StrEnum):
    """The levels of Python's logging."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
    critical = "critical"


def serve(
    grpc_port: GrpcPortOption = None,
    http_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port for the management API, which 'perdure instances' uses; none by default."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    store: Annotated[
        str,
        typer.Option(
            envvar="PERDURE_STORE",
            help="Where the hub 'default' is kept: sqlite:///FILE.db, postgresql://USER@HOST/DATABASE or memory://; "
            "other hubs are kept beside it.",
        ),
    ] = "sqlite:///hub.db",
    grpc_token: GrpcTokenOption = None,
    grpc_token_file: GrpcTokenFileOption = None,
    grpc_cert: GrpcCertOption = None,
    grpc_key: GrpcKeyOption = None,
    grpc_client_ca: GrpcClientCaOption = None,
    max_message_mb: Annotated[int, typer.Option(min=1, max=1024, help="Largest message that is taken or sent.")] = 64,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that open calls may go on after Ctrl-C.")] = 5.0,
    log_level: Annotated[LogLevel, typer.Option(case_sensitive=False, help="Least level that is logged.")] = LogLevel.info,
) -> None:
    """Serve the Durable Task protocol over gRPC: SDK apps run by changing nothing but their address."""
    from perdure.protocol.options import settings_from
    from perdure.protocol.packages import require_packages
    from perdure.protocol.settings import ProtocolSettings

    require_packages()
    from perdure.cli import event_loop
    from perdure.cli.serving_grpc import run

    settings = settings_from(
        host=host,
        port=ProtocolSettings().port if grpc_port is None else grpc_port,
        token=os.environ.get(TOKEN_VARIABLE) if grpc_token is None else grpc_token,
        token_file=grpc_token_file,
        certificate=grpc_cert,
        key=grpc_key,
        client_ca=grpc_client_ca,
        max_message_bytes=max_message_mb * 1024 * 1024,
        drain_grace=timedelta(seconds=drain),
    )
    event_loop.run(run(store, settings, log_level.upper(), http_port=http_port))
