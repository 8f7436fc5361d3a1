"""Whether the packages of the extra ``grpc`` are there."""

from importlib import import_module

from perdure.protocol.errors import PackagesMissingError


def require_packages() -> None:
    """Returns if the gRPC server can be imported.

    Raises:
        PackagesMissingError: a package is missing.
    """
    try:
        import_module("perdure.protocol.server")
    except ModuleNotFoundError as error:
        raise PackagesMissingError(
            f"the Durable Task protocol needs the package that has '{error.name}'. Run: pip install 'perdure[grpc]'"
        ) from error
