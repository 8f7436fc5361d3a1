"""Puts ``HostSettings`` together from defaults, files, environment and flags. All problems are told at once."""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from perdure.host.host_json_keys import NO_MEANING, leaves, no_meaning
from perdure.host.json_file import JsonFile, JsonSyntaxError, KeyPath, as_object, read_json
from perdure.host.settings import DEFINITIONS, Definition, HostSettings, SettingsError

_OVERRIDE = "azurefunctionsjobhost__"
_APP_SETTING = re.compile(r"%([^%\s]+)%")
_LOCAL_KEYS = ("IsEncrypted", "Values", "Host", "ConnectionStrings")
_KNOWN_VARIABLES = frozenset({"PERDURE_URL", "PERDURE_CODE"})
"""Of the command line's own."""


def load_settings(
    folder: Path, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> HostSettings:
    """The effective configuration of the app in ``folder``. Changes nothing: see ``HostSettings.apply_values``.

    Args:
        folder: where ``host.json`` and ``local.settings.json`` are, if there are any.
        flags: values by setting name; those that are ``None`` weren't given.
        environment: by default that of the process.

    Raises:
        SettingsError: some of it can't be used.
    """
    loading = _Loading(folder.absolute(), os.environ if environment is None else environment)
    settings = loading.settings(flags or {})
    if loading.problems:
        raise SettingsError("\n".join(loading.problems))
    return settings


class _Loading:
    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self.problems: list[str] = []
        self._warnings: list[str] = []
        self._notices: list[str] = []
        self._taken: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        self._by_host_json = {definition.host_json.casefold(): definition for definition in DEFINITIONS if definition.host_json}

    def settings(self, flags: Mapping[str, Any]) -> HostSettings:
        local = self._read("local.settings.json")
        values = self._values(local)
        self._host_json(self._read("host.json"), {**values, **self._environment})
        self._variables(values, lambda name: f"local.settings.json Values.{name}", self._folder)
        self._host_section(local)
        self._variables(self._environment, lambda name: f"environment {name}", Path.cwd())
        for definition in DEFINITIONS:
            value = flags.get(definition.name)
            if value is not None:
                self._take(definition, value, f"flag {definition.flag}", definition.flag, Path.cwd())
        for definition in DEFINITIONS:
            if definition.name not in self._taken:
                self._taken[definition.name] = _absolute(definition, definition.default, self._folder)
        return HostSettings(
            folder=self._folder,
            **self._taken,
            values=values,
            origins=self._origins,
            warnings=tuple(self._warnings),
            notices=tuple(self._notices),
        )

    def _take(self, definition: Definition, value: Any, origin: str, place: str, base: Path) -> None:
        try:
            parsed = definition.parse(value)
        except ValueError as error:
            self.problems.append(f"{place}: {value!r} is no value for {definition.name}: {error}.")
            return
        self._taken[definition.name] = _absolute(definition, parsed, base)
        self._origins[definition.name] = origin

    # --- files ----------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> JsonFile:
        path = self._folder / name
        try:
            file = read_json(path)
        except FileNotFoundError:
            return JsonFile(path, {})
        except OSError as error:
            self.problems.append(f"{path}: it can't be read: {error.strerror}.")
            return JsonFile(path, {})
        except JsonSyntaxError as error:
            self.problems.append(f"{path}:{error.line}:{error.column}: {error.problem}.")
            return JsonFile(path, {})
        if as_object(file.value) is None:
            self.problems.append(f"{path}:1:1: the file has to hold an object: begin it with {{ and end it with }}.")
            return JsonFile(path, {})
        return file

    def _host_json(self, file: JsonFile, app_settings: Mapping[str, str]) -> None:
        for path, value in leaves(file.value):
            if not path:
                continue
            if path == ("version",) and value != "2.0":
                self._warnings.append(f'{file.place(path)}: version {value!r} is not known; it is read as "2.0".')
            definition = self._by_host_json.get(".".join(path).casefold())
            if definition is not None:
                self._host_value(file, definition, path, value, app_settings)
                continue
            why = no_meaning(path)
            if why is None:
                self._unknown(file, path)
            elif why:
                self._notices.append(f"{file.place(path)}: '{'.'.join(path)}' has no meaning here: {why}.")

    def _host_value(
        self, file: JsonFile, definition: Definition, path: KeyPath, value: Any, app_settings: Mapping[str, str]
    ) -> None:
        if value is None:
            return
        if isinstance(value, str):
            for name in _APP_SETTING.findall(value):
                if name not in app_settings:
                    self.problems.append(
                        f"{file.place(path)}: there is no app setting '{name}'. Put it into the environment, or into Values of "
                        "local.settings.json."
                    )
                    return
            value = _APP_SETTING.sub(lambda match: app_settings[match.group(1)], value)
        self._take(definition, value, f"host.json {'.'.join(path)}", file.place(path), self._folder)

    def _unknown(self, file: JsonFile, path: KeyPath) -> None:
        known = [definition.host_json for definition in DEFINITIONS if definition.host_json] + [
            name.removesuffix(".*") for name in NO_MEANING
        ]
        self._warn_unknown(file.place(path), ".".join(path), known)

    def _warn_unknown(self, place: str, name: str, known: list[str]) -> None:
        by_folded = {candidate.casefold(): candidate for candidate in known}
        near = difflib.get_close_matches(name.casefold(), by_folded, 1, 0.75)
        meant = f" Did you mean '{by_folded[near[0]]}'?" if near else ""
        self._warnings.append(f"{place}: '{name}' is not known and changes nothing.{meant}")

    def _values(self, file: JsonFile) -> dict[str, str]:
        for name in file.value:
            if name not in _LOCAL_KEYS:
                self._warn_unknown(file.place((name,)), name, list(_LOCAL_KEYS))
        values = as_object(file.value.get("Values") or {})
        if values is None:
            self.problems.append(f"{file.place(('Values',))}: Values has to be an object of texts.")
            return {}
        if file.value.get("IsEncrypted") is True and values:
            self.problems.append(
                f"{file.place(('IsEncrypted',))}: the values are encrypted for Azure's tools. Decrypt them with "
                "'func settings decrypt', which also sets IsEncrypted to false."
            )
            return {}
        found: dict[str, str] = {}
        for name, value in values.items():
            if isinstance(value, str):
                found[name] = value
            else:
                self.problems.append(f"{file.place(('Values', name))}: values have to be texts: put it into double quotes.")
        return found

    def _host_section(self, file: JsonFile) -> None:
        section = as_object(file.value.get("Host") or {})
        if section is None:
            self.problems.append(f"{file.place(('Host',))}: Host has to be an object.")
            return
        by_key = {definition.local.casefold(): definition for definition in DEFINITIONS if definition.local}
        for key, value in section.items():
            definition = by_key.get(key.casefold())
            place = file.place(("Host", key))
            if definition is None:
                known = [f"Host.{definition.local}" for definition in by_key.values()]
                self._warn_unknown(place, f"Host.{key}", known)
            else:
                self._take(definition, value, f"local.settings.json Host.{key}", place, self._folder)

    # --- variables ------------------------------------------------------------------------------------------------

    def _variables(self, variables: Mapping[str, str], origin: Callable[[str], str], base: Path) -> None:
        by_variable = {definition.variable: definition for definition in DEFINITIONS if definition.variable}
        by_own = {definition.perdure_variable: definition for definition in DEFINITIONS}
        overrides: list[tuple[Definition, str]] = []
        own: list[tuple[Definition, str]] = []
        for name in variables:
            if name in by_own:
                own.append((by_own[name], name))
            elif name in by_variable:
                overrides.append((by_variable[name], name))
            elif name.casefold().startswith(_OVERRIDE):
                path = tuple(name[len(_OVERRIDE) :].split("__"))
                definition = self._by_host_json.get(".".join(path).casefold())
                if definition is not None:
                    overrides.append((definition, name))
                elif no_meaning(path) is None:
                    known = [
                        f"AzureFunctionsJobHost__{definition.host_json.replace('.', '__')}"
                        for definition in self._by_host_json.values()
                    ]
                    self._warn_unknown(origin(name), name, known)
            elif name.startswith("PERDURE_") and name not in _KNOWN_VARIABLES:
                self._warn_unknown(origin(name), name, list(by_own))
        for definition, name in (*overrides, *own):
            self._take(definition, variables[name], origin(name), origin(name), base)


def _absolute(definition: Definition, value: Any, base: Path) -> Any:
    """Relative paths are meant relative to where they are written: the app folder, or where the shell is."""
    if isinstance(value, Path):
        return base / value
    if definition.name == "store":
        scheme, separator, rest = value.partition("://")
        if not separator and value.endswith(".db"):
            return _sqlite_url(base / value)
        if scheme.lower() == "sqlite" and rest.startswith("/") and len(rest) > 1:
            return _sqlite_url(base / unquote(rest[1:]))
    return value


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"
