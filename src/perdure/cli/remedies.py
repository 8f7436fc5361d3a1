"""Which exit code an error of Perdure's means."""

from perdure.cli.errors import ExitCode
from perdure.client.http_answers import HostAnswerError, HostUnreachableError
from perdure.core.errors import PerdureError
from perdure.core.ids import InvalidInstanceIdError, InvalidNameError
from perdure.engine.errors import InstanceNotFoundError, NotShareableError
from perdure.host.settings import SettingsError
from perdure.protocol.errors import PackagesMissingError, ServerSettingsError, UnknownTaskHubError
from perdure.store.errors import HubInUseError, HubMissingError, StoreUnavailableError, StoreUrlError

_CODES: tuple[tuple[type[PerdureError], ExitCode], ...] = (
    (InstanceNotFoundError, ExitCode.NOT_FOUND),
    (HubMissingError, ExitCode.NOT_FOUND),
    (UnknownTaskHubError, ExitCode.NOT_FOUND),
    (InvalidInstanceIdError, ExitCode.USAGE),
    (InvalidNameError, ExitCode.USAGE),
    (SettingsError, ExitCode.USAGE),
    (StoreUrlError, ExitCode.USAGE),
    (ServerSettingsError, ExitCode.USAGE),
    (PackagesMissingError, ExitCode.USAGE),
    (NotShareableError, ExitCode.USAGE),
    (HubInUseError, ExitCode.UNREACHABLE),
    (StoreUnavailableError, ExitCode.UNREACHABLE),
    (HostUnreachableError, ExitCode.UNREACHABLE),
    (HostAnswerError, ExitCode.UNREACHABLE),
)


def exit_code_of(error: PerdureError) -> ExitCode:
    """``FAILED`` where nothing more precise is known."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
