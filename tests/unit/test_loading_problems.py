"""Apps that can't be loaded: what was found, where, and what to do about it; all of it in one report."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytest.importorskip("azure.durable_functions")

from perdure.host.loading import AppLoadError, Problem, load_app

AZURE = "import azure.durable_functions as df\nimport azure.functions as func\napp = df.DFApp()\n"
OWN = "import perdure as df\napp = df.DFApp()\n"


def problems(folder: Path, code: str | None = None) -> list[Problem]:
    if code is not None:
        (folder / "function_app.py").write_text(code, encoding="utf-8")
    with pytest.raises(AppLoadError) as caught:
        load_app(folder)
    assert all(
        problem.what in " ".join(str(caught.value).split("\n")) or "\n" in problem.what for problem in caught.value.problems
    )
    return list(caught.value.problems)


def only(folder: Path, code: str | None = None) -> Problem:
    (problem,) = problems(folder, code)
    return problem


def app_of(*functions: str, start: str = AZURE) -> str:
    return start + "\n\n".join(dedent(function) for function in functions)


# --- the folder and its modules ------------------------------------------------------------------------------------


def test_there_is_no_folder(tmp_path: Path) -> None:
    assert "no such folder" in only(tmp_path / "nowhere").what


def test_there_is_nothing_to_load(tmp_path: Path) -> None:
    problem = only(tmp_path)
    assert "function_app.py" in problem.what
    assert "perdure new" in problem.fix


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    problem = only(tmp_path, "import os\n\ndef f(:\n    pass\n")
    assert problem.place == f"{tmp_path / 'function_app.py'}:3"
    assert "def f(:" in problem.what


def test_an_error_at_import_has_the_users_own_traceback(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text("def go():\n    return {}['x']\n")
    problem = only(tmp_path, "import inner\n\ninner.go()\n")
    assert problem.place == f"{tmp_path / 'inner.py'}:2"
    assert "KeyError: 'x'" in problem.what
    assert f'File "{tmp_path / "function_app.py"}", line 3' in problem.what
    assert "importlib" not in problem.what
    assert "perdure/host" not in problem.what


def test_a_program_that_ends_at_import_is_no_app(tmp_path: Path) -> None:
    assert "__main__" in only(tmp_path, "import sys\nsys.exit(3)\n").fix


@pytest.mark.parametrize(
    ("statement", "install"),
    [
        ("import surely_missing.part", "pip install 'surely_missing'"),
        ("import yaml_that_is_missing", "pip install 'yaml_that_is_missing'"),
        ("import azure.storage_that_is_missing", "pip install 'azure-storage-that-is-missing'"),
    ],
)
def test_a_missing_package_names_what_to_install(tmp_path: Path, statement: str, install: str) -> None:
    problem = only(tmp_path, f"\n{statement}\n")
    assert problem.place == f"{tmp_path / 'function_app.py'}:2"
    assert install in problem.fix
    (tmp_path / "requirements.txt").write_text("x\n")
    assert f"pip install -r {tmp_path / 'requirements.txt'}" in only(tmp_path).fix


def test_packages_that_pip_knows_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "pip install 'PyYAML'" in only(tmp_path, "import yaml\n").fix
    monkeypatch.setitem(sys.modules, "azure.durable_functions", None)
    assert "azure-functions-durable<2" in only(tmp_path, "import azure.durable_functions\n").fix


def test_a_missing_module_of_the_app_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    assert "correct the import" in only(tmp_path, "import shared.nothing\n").fix


# --- the app object ------------------------------------------------------------------------------------------------


def test_there_is_no_app_object(tmp_path: Path) -> None:
    assert "app = df.DFApp()" in only(tmp_path, "x = 1\n").fix


@pytest.mark.parametrize("package", ["azure.durable_functions", "perdure"])
def test_a_blueprint_is_no_app(tmp_path: Path, package: str) -> None:
    assert "register_functions(mine)" in only(tmp_path, f"import {package} as df\nmine = df.Blueprint()\n").what


@pytest.mark.parametrize("package", ["azure.durable_functions", "perdure"])
def test_there_are_several_app_objects(tmp_path: Path, package: str) -> None:
    problem = only(tmp_path, f"import {package} as df\na = df.DFApp()\nb = df.DFApp()\n")
    assert "'a', 'b'" in problem.what


def test_one_app_may_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(f"{AZURE}application = app\n")
    assert load_app(tmp_path).triggered == ()


# --- functions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [AZURE, OWN])
def test_two_functions_have_one_name(tmp_path: Path, start: str) -> None:
    code = app_of(
        '@app.route(route="a")\ndef same(req): ...', '@app.route(route="b")\n@app.function_name("SAME")\ndef other(req): ...',
        start=start,
    )  # fmt: skip
    problem = only(tmp_path, code)
    assert "'SAME'" in problem.what
    assert f"{tmp_path / 'function_app.py'}:" in problem.what


def test_two_orchestrators_have_one_name(tmp_path: Path) -> None:
    code = app_of(
        '@app.orchestration_trigger(context_name="context", orchestration="X")\ndef a(context): ...',
        '@app.orchestration_trigger(context_name="context", orchestration="x")\ndef b(context): ...',
    )
    assert "two orchestrators" in only(tmp_path, code).what


def test_a_decorator_of_perdure_is_refused_with_its_reason(tmp_path: Path) -> None:
    problem = only(tmp_path, app_of('@app.activity_trigger(input_name="x")\ndef act(y): ...', start=OWN))
    assert "'x'" in problem.what
    assert problem.place == f"{tmp_path / 'function_app.py'}:3"


def test_an_unsupported_trigger_is_named_with_those_that_are(tmp_path: Path) -> None:
    code = app_of('@app.blob_trigger(arg_name="blob", path="x", connection="C")\ndef on_blob(blob): ...')
    problem = only(tmp_path, code)
    assert "'blobTrigger'" in problem.what
    assert "timerTrigger" in problem.fix


def test_an_unsupported_binding_is_named_with_those_that_are(tmp_path: Path) -> None:
    code = app_of('@app.route(route="x")\n@app.blob_output(arg_name="blob", path="x", connection="C")\ndef write(req, blob): ...')
    problem = only(tmp_path, code)
    assert "'blob'" in problem.what
    assert "queue (out)" in problem.fix


@pytest.mark.parametrize("start", [AZURE, OWN])
def test_a_function_without_trigger(tmp_path: Path, start: str) -> None:
    code = app_of('@app.queue_output(arg_name="q", queue_name="q", connection="C")\ndef f(q): ...', start=start)
    assert "trigger" in only(tmp_path, code).what


@pytest.mark.parametrize("start", [AZURE, OWN])
def test_a_function_with_two_triggers(tmp_path: Path, start: str) -> None:
    code = app_of(
        '@app.route(route="x")\n@app.timer_trigger(arg_name="t", schedule="0 * * * * *")\ndef f(req, t): ...', start=start
    )
    assert "trigger" in only(tmp_path, code).what


def test_a_durable_function_with_another_trigger(tmp_path: Path) -> None:
    code = app_of('@app.route(route="x")\n@app.activity_trigger(input_name="v")\ndef f(v): ...', start=OWN)
    assert "'f' is activity" in only(tmp_path, code).what


@pytest.mark.parametrize("start", [AZURE, OWN])
def test_bindings_and_parameters_differ(tmp_path: Path, start: str) -> None:
    code = app_of('@app.route(route="x", trigger_arg_name="request")\ndef f(req, extra=1): ...', start=start)
    missing, unbound = problems(tmp_path, code)
    assert "'request'" in missing.what
    assert "'req'" in unbound.what


def test_an_activity_needs_the_parameter_of_its_trigger(tmp_path: Path) -> None:
    first, second = problems(tmp_path, app_of('@app.activity_trigger(input_name="x")\ndef act(y): ...'))
    assert "'x'" in first.what
    assert "'y'" in second.what


@pytest.mark.parametrize("signature", ["def f(): ...", "def f(context, more): ..."])
def test_an_orchestrator_needs_a_context_and_nothing_else(tmp_path: Path, signature: str) -> None:
    problem = only(tmp_path, app_of(f'@app.orchestration_trigger(context_name="context")\n{signature}'))
    assert "one parameter" in problem.what


def test_an_orchestrator_of_1_x_is_no_coroutine(tmp_path: Path) -> None:
    code = app_of('@app.orchestration_trigger(context_name="context")\nasync def f(context): ...')
    assert "yield" in only(tmp_path, code).fix


def test_an_activity_is_no_generator(tmp_path: Path) -> None:
    assert "generator" in only(tmp_path, app_of('@app.activity_trigger(input_name="x")\ndef act(x): yield x')).what


def test_an_activity_has_no_other_bindings(tmp_path: Path) -> None:
    code = app_of(
        '@app.activity_trigger(input_name="x")\n@app.durable_client_input(client_name="client")\nasync def act(x, client): ...'
    )
    assert "'durableClient'" in problems(tmp_path, code)[0].what


def test_a_client_function_of_1_x_is_async(tmp_path: Path) -> None:
    code = app_of('@app.route(route="x")\n@app.durable_client_input(client_name="client")\ndef start(req, client): ...')
    assert "async def start" in only(tmp_path, code).fix


def test_a_client_function_may_be_wrapped(tmp_path: Path) -> None:
    code = app_of(
        "import functools\n\ndef logged(f):\n    @functools.wraps(f)\n    def wrapper(**kw): return f(**kw)\n    return wrapper",
        '@app.route(route="x")\n@app.durable_client_input(client_name="client")\n@logged\nasync def start(req, client): ...',
    )
    (tmp_path / "function_app.py").write_text(code)
    assert [function.name for function in load_app(tmp_path).triggered] == ["start"]


def test_durable_decorators_come_first(tmp_path: Path) -> None:
    code = app_of('@app.orchestration_trigger(context_name="context")\n@app.function_name("X")\ndef f(context): ...')
    assert "directly above the def" in only(tmp_path, code).fix


@pytest.mark.parametrize("start", [AZURE, OWN])
def test_a_decorator_needs_its_parentheses(tmp_path: Path, start: str) -> None:
    problem = only(tmp_path, app_of("@app.orchestration_trigger\ndef f(context): ...", start=start))
    assert "'f' is a decorator" in problem.what


@pytest.mark.parametrize("argument", ['methods=["FETCH"]', 'auth_level="everybody"'])
@pytest.mark.parametrize("start", [AZURE, OWN])
def test_wrong_arguments_of_a_decorator_have_their_line(tmp_path: Path, start: str, argument: str) -> None:
    problem = only(tmp_path, app_of(f'@app.route(route="x", {argument})\ndef f(req): ...', start=start))
    assert problem.place.startswith(f"{tmp_path / 'function_app.py'}:")


@pytest.mark.parametrize("level", ["'everybody'", "5"])
def test_a_wrong_authorization_level_of_the_app(tmp_path: Path, level: str) -> None:
    assert "http_auth_level" in only(tmp_path, f"import perdure as df\napp = df.DFApp(http_auth_level={level})\n").what


def test_all_problems_are_in_one_report(tmp_path: Path) -> None:
    code = app_of(
        '@app.blob_trigger(arg_name="blob", path="x", connection="C")\ndef on_blob(blob): ...',
        '@app.activity_trigger(input_name="x")\ndef act(x): yield x',
        '@app.orchestration_trigger(context_name="context")\ndef f(): ...',
        '@app.route(route="x")\n@app.durable_client_input(client_name="client")\ndef start(req, client): ...',
    )
    assert len(problems(tmp_path, code)) == 4
    with pytest.raises(AppLoadError, match=r"(?s)\[PD4001\].*4 problems.*1\. .*4\. "):
        load_app(tmp_path)


# --- function.json -------------------------------------------------------------------------------------------------


def folder_with(folder: Path, description: str, code: str = "def main(value): ...\n") -> None:
    (folder / "F").mkdir()
    (folder / "F" / "function.json").write_text(description)
    (folder / "F" / "__init__.py").write_text(code)


@pytest.mark.parametrize(
    ("description", "code", "text"),
    [
        ("{", "", "JSON"),
        ("[]", "", "bindings"),
        ('{"bindings": [{"name": "x"}]}', "", "bindings"),
        ('{"bindings": [], "scriptFile": "other.py"}', "", "other.py"),
        ('{"bindings": [], "scriptFile": "../../outside.py"}', "", "outside.py"),
        ('{"bindings": [], "entryPoint": "go"}', "def main(): ...", "'go'"),
        ('{"bindings": []}', "def main(): ...", "exactly one trigger"),
        ('{"bindings": [{"type": "activityTrigger", "name": "value"}]}', "import surely_missing", "surely_missing"),
        (
            '{"bindings": [{"type": "orchestrationTrigger", "name": "context"}]}',
            "def main(context): ...",
            "df.Orchestrator.create",
        ),
        ('{"bindings": [{"type": "entityTrigger", "name": "context"}]}', "def main(context): ...", "df.Entity.create"),
        ('{"bindings": [{"type": "timerTrigger", "name": "t"}]}', "def main(t): ...", "'schedule'"),
        ('{"bindings": [{"type": "queueTrigger", "name": "t"}]}', "def main(t): ...", "'queueName'"),
        ('{"bindings": [{"type": "httpTrigger", "name": "t", "authLevel": "user"}]}', "def main(t): ...", "'user'"),
        (
            '{"bindings": [{"type": "orchestrationTrigger", "name": "context", "durableRequiresGrpc": true}]}',
            "def main(context): ...",
            "df.Orchestrator.create",
        ),
        (
            """{"bindings": [
                {"type": "activityTrigger", "name": "v", "durableRequiresGrpc": true}, {"type": "queue", "name": "q"}
            ]}""",
            "def main(v, q): ...",
            "'queue'",
        ),
    ],
)
def test_what_can_be_wrong_with_a_function_folder(tmp_path: Path, description: str, code: str, text: str) -> None:
    (tmp_path.parent / "outside.py").write_text("")
    folder_with(tmp_path, description, code)
    assert text in only(tmp_path).what


def test_all_function_folders_are_looked_at(tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "function.json").write_text('{"bindings": [{"type": "activityTrigger", "name": "v"}]}')
        (tmp_path / name / "__init__.py").write_text("def main(v) ...\n" if name != "C" else "def main(v): ...\n")
    assert [problem.place for problem in problems(tmp_path)] == [f"{tmp_path / name / '__init__.py'}:1" for name in ("A", "B")]
