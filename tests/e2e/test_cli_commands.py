"""The command line without a host: help, new apps, configuration."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.cli.new import Flavour, Template
from tests.e2e.cli import environment, perdure


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = perdure("--version", folder=tmp_path)
    assert done.exit_code == 0
    assert re.fullmatch(r"perdure \d+\.\d+\.\d+\S*\n", done.out)


def test_help_names_every_command_and_says_what_it_does(tmp_path: Path) -> None:
    told = perdure("--help", folder=tmp_path).out
    for command in ("start", "new", "config", "instances"):
        assert re.search(rf"^  {command} +\w", told, re.MULTILINE), command
    told = perdure("instances", "--help", folder=tmp_path).out
    verbs = "start list show history wait raise-event terminate suspend resume rewind restart purge"
    for command in verbs.split():
        assert re.search(rf"^  {command} +\w", told, re.MULTILINE), command


def test_a_folder_with_a_space_in_its_name_can_be_entered_as_it_is_told(tmp_path: Path) -> None:
    done = perdure("new", "my shop", folder=tmp_path)
    assert "\n  cd 'my shop'\n" in done.out


@pytest.mark.parametrize("arguments", [("wait",), ("strat",), ("start", "--prot", "1"), ("instances", "list", "--limit", "0")])
def test_a_wrong_command_line_exits_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = perdure(*arguments, folder=tmp_path)
    assert done.exit_code == 2
    assert done.err
    assert not done.out


def test_help_does_not_import_what_it_does_not_need(tmp_path: Path) -> None:
    script = (
        "import contextlib, io, sys\nfrom perdure.cli.main import main\nsys.argv = ['perdure', '--help']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    main()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "perdure.cli.main" in loaded
    assert not loaded & {
        "rich",
        "starlette",
        "azure",
        "httpx",
        "uvicorn",
        "sqlite3",
        "asyncio",
        "perdure.engine",
        "perdure.core.events",
    }


@pytest.mark.parametrize("flavour", Flavour)
@pytest.mark.parametrize("template", Template)
def test_a_new_app_is_complete(template: Template, flavour: Flavour, tmp_path: Path) -> None:
    done = perdure("new", "shop", "--template", template, "--flavour", flavour, folder=tmp_path)
    assert done.exit_code == 0, done.err
    app = tmp_path / "shop"
    assert sorted(path.name for path in app.iterdir()) == [
        ".gitignore",
        "README.md",
        "function_app.py",
        "host.json",
        "local.settings.json",
        "requirements.txt",
    ]
    code = (app / "function_app.py").read_text(encoding="utf-8")
    compile(code, "function_app.py", "exec")
    requirements = (app / "requirements.txt").read_text(encoding="utf-8")
    if flavour is Flavour.AZURE:
        assert "perdure" not in code
        assert "import azure.durable_functions as df\n" in code
        assert "azure-functions-durable" in requirements
        assert "perdure[azure]" in (app / "README.md").read_text(encoding="utf-8")
    else:
        assert "import perdure as df\n" in code
        assert requirements == "perdure[host]\n"
    settings = perdure("config", "shop", "--json", folder=tmp_path).json()
    assert settings["warnings"] == settings["notices"] == []
    assert settings["settings"]["hub_name"]["origin"] == "host.json extensions.durableTask.hubName"


def test_a_new_app_never_touches_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    done = perdure("new", ".", folder=tmp_path)
    assert done.exit_code == 2
    assert done.err == "perdure: . exists and is not empty. Give another name, or empty it first.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_config_shows_each_value_and_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(
        '{"version": "2.0", "extensions": {"http": {"routePrefix": ""}, "durableTask": {"useAppLease": true, "hubNam": "x"}}}',
        encoding="utf-8",
    )
    (tmp_path / "local.settings.json").write_text(
        '{"Values": {"SECRET": "s3cret"}, "Host": {"LocalHttpPort": 8080}}', encoding="utf-8"
    )
    done = perdure("config", folder=tmp_path, variables={"PERDURE_PORT": "9090"})
    assert done.exit_code == 0
    rows = {line.split()[0]: line.strip().split(maxsplit=2)[1:] for line in done.out.splitlines()}
    assert rows["port"] == ["9090", "environment PERDURE_PORT"]
    assert rows["route_prefix"] == ["none", "host.json extensions.http.routePrefix"]
    assert rows["host"] == ["127.0.0.1", "default"]
    assert "warning: " in done.err
    assert "Did you mean 'extensions.durableTask.hubName'?" in done.err
    assert "note: " in done.err
    assert "'extensions.durableTask.useAppLease' has no meaning here" in done.err
    as_json = perdure("config", "--json", folder=tmp_path)
    assert "s3cret" not in as_json.out
    assert json.loads(as_json.out)["appSettings"] == ["SECRET"]
    assert json.loads(as_json.out)["settings"]["port"] == {
        "value": 8080,
        "origin": "local.settings.json Host.LocalHttpPort",
        "variable": "PERDURE_PORT",
    }


@pytest.mark.parametrize("command", ["config", "start"])
def test_a_malformed_file_ends_with_its_place_and_exit_code_2(command: str, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{\n  "version" "2.0"\n}', encoding="utf-8")
    done = perdure(command, folder=tmp_path)
    assert done.exit_code == 2
    assert done.err == f'perdure: [PD4501] {tmp_path}/host.json:2:13: a colon is expected after "version".\n'


@pytest.mark.parametrize("command", ["config", "start"])
def test_a_missing_folder_ends_with_exit_code_3(command: str, tmp_path: Path) -> None:
    done = perdure(command, "nowhere", folder=tmp_path)
    assert done.exit_code == 3
    assert done.err.startswith("perdure: nowhere is missing. ")
