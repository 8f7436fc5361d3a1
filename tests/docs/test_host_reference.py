"""The reference of the command line and of the configuration says what the code does."""

import re

import pytest

from perdure.cli.errors import ExitCode
from perdure.cli.instances import instances
from perdure.cli.main import app
from perdure.cli.new import Template
from perdure.cli.stores import stores
from perdure.host.host_json_keys import NO_MEANING
from perdure.host.settings import DEFINITIONS, Definition
from tests.docs import pages

CLI = (pages.DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
CONFIGURATION = (pages.DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_every_setting_has_its_row_with_all_of_its_names(definition: Definition) -> None:
    row = re.search(rf"(?m)^\| `{definition.name}` \|.*$", CONFIGURATION)
    assert row is not None
    assert definition.doc in row.group()
    for name in (definition.host_json, definition.local, definition.variable, definition.flag):
        assert name in row.group()


def test_every_key_without_meaning_is_listed_with_the_reason() -> None:
    rows = [line for line in CONFIGURATION.splitlines() if line.startswith("| ")]
    for key, why in NO_MEANING.items():
        assert any(f"`{key}`" in row and why in row for row in rows), key


def test_every_exit_code_is_documented() -> None:
    assert {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", CLI)} == {*ExitCode, 130}


def test_every_command_and_template_is_documented() -> None:
    for command in app.registered_commands:
        assert f"## perdure {command.name}\n" in CLI
    for command in (*instances.registered_commands, *stores.registered_commands):
        assert re.search(rf"`{command.name}[` ]", CLI), command.name
    for template in Template:
        assert f"| `{template}`" in CLI


@pytest.mark.parametrize(
    "option",
    ["--host", "--port", "--store", "--hub", "--keys-file", "--role", "--log-level", "--processes", "--reload"],
)
def test_the_options_of_start_are_documented(option: str) -> None:
    section = CLI.partition("## perdure start")[2].partition("## perdure new")[0]
    assert f"`{option}" in section
