"""Options of the gRPC server, which ``perdure serve`` and ``perdure start`` share."""

from pathlib import Path
from typing import Annotated

import typer

TOKEN_VARIABLE = "PERDURE_GRPC_TOKEN"

GrpcPortOption = Annotated[int | None, typer.Option(min=0, max=65535, help="Port for gRPC; 8080 by default, 0 takes a free one.")]
GrpcTokenOption = Annotated[
    str | None, typer.Option(help=f"Token that callers of gRPC have to show; better given as ${TOKEN_VARIABLE}.")
]
GrpcTokenFileOption = Annotated[Path | None, typer.Option(help="File with the tokens that callers may show, one a line.")]
GrpcCertOption = Annotated[Path | None, typer.Option(help="Certificate (PEM) of the gRPC server, for TLS.")]
GrpcKeyOption = Annotated[Path | None, typer.Option(help="Its private key (PEM).")]
GrpcClientCaOption = Annotated[
    Path | None, typer.Option(help="Callers have to show a certificate of this authority (PEM), for mutual TLS.")
]
