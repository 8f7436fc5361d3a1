"""``perdure config``: what a host in this folder would run with, and why."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.folders import FolderArgument, app_folder
from perdure.cli.printing import say_json, say_table, tell
from perdure.cli.store_urls import without_password

if TYPE_CHECKING:
    from perdure.host.settings import Definition


def show_configuration(
    path: FolderArgument = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Show the effective settings of an app, and where each value comes from."""
    from perdure.host.configuration import load_settings
    from perdure.host.settings import DEFINITIONS

    settings = load_settings(app_folder(path))
    values = [(definition, _shown(definition, getattr(settings, definition.name))) for definition in DEFINITIONS]
    if as_json:
        say_json(
            {
                "settings": {
                    definition.name: {
                        "value": value,
                        "origin": settings.origins.get(definition.name, "default"),
                        "variable": definition.perdure_variable,
                    }
                    for definition, value in values
                },
                "appSettings": sorted(settings.values),
                "warnings": settings.warnings,
                "notices": settings.notices,
            }
        )
        return
    say_table(
        ("SETTING", "VALUE", "ORIGIN"),
        [
            (definition.name, "none" if value in (None, "", []) else value, settings.origins.get(definition.name, "default"))
            for definition, value in values
        ],
    )
    for warning in settings.warnings:
        tell(f"warning: {warning}")
    for notice in settings.notices:
        tell(f"note: {notice}")


def _shown(definition: "Definition", value: Any) -> Any:
    return "***" if definition.secret and value else shown_value(value)


def shown_value(value: Any) -> Any:
    """As JSON has it, without passwords."""
    match value:
        case str():
            return without_password(value)
        case timedelta():
            return str(value)
        case Path():
            return str(value)
        case tuple():
            return [*value]
        case _:
            return value
