"""App settings as bindings name them: ``%NAME%`` in a text, or the name of a connection."""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace

from perdure.host.model import LoadedApp, TriggeredFunction
from perdure.host.triggers.errors import MissingAppSettingError

_log = logging.getLogger("perdure.host")


def expand(text: str, settings: Mapping[str, str], where: str) -> str:
    """``text`` with each ``%NAME%`` replaced by that app setting.

    Raises:
        MissingAppSettingError: there is none of that name.
    """

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in settings:
            raise MissingAppSettingError(
                f"{where} uses %{name}%, but there is no app setting '{name}'. Set the environment variable {name}, or put it "
                "into Values of local.settings.json."
            )
        return settings[name]

    return re.sub(r"%([^%]+)%", value, text)


def without_disabled(loaded: LoadedApp, settings: Mapping[str, str]) -> LoadedApp:
    """The app without the functions that are switched off. Durable functions can't be: others may be waiting for them."""
    enabled: list[TriggeredFunction] = []
    for function in loaded.triggered:
        if is_disabled(function.name, settings):
            _log.info("function '%s' (%s) is disabled by the app setting %s", function.name, function.place, _name(function.name))
        else:
            enabled.append(function)
    durable = [loaded.functions.orchestrators, loaded.functions.activities, loaded.functions.entities]
    if loaded.work is not None:
        durable += [loaded.work.orchestrators, loaded.work.entities]
    for name in (function.name for functions in durable for function in functions.values()):
        if is_disabled(name, settings):
            _log.warning(
                "the app setting %s changes nothing: only functions with triggers of their own can be disabled", _name(name)
            )
    return replace(loaded, triggered=tuple(enabled))


def is_disabled(name: str, settings: Mapping[str, str]) -> bool:
    """Whether the app setting ``AzureWebJobs.NAME.Disabled`` switches a function off."""
    wanted = _name(name).casefold()
    return any(key.casefold() == wanted and value.strip().casefold() in ("true", "1") for key, value in settings.items())


def _name(function: str) -> str:
    return f"AzureWebJobs.{function}.Disabled"
