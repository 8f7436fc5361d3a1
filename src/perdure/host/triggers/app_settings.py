"""App settings as bindings name them: ``%NAME%`` in a text, or the name of a connection."""

import re
from collections.abc import Mapping

from perdure.host.triggers.errors import MissingAppSettingError


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
