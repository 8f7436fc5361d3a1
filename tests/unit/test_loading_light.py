"""What isn't used isn't imported."""

import subprocess
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[1] / "e2e" / "azure_apps"


def imported_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import perdure",
        "import perdure.app",
        "import perdure as df\napp = df.DFApp()\n@app.activity_trigger(input_name='x')\ndef act(x): ...\n",
    ],
)
def test_an_app_without_triggers_needs_no_package_of_azure(code: str) -> None:
    assert not {name for name in imported_by(code) if name.partition(".")[0] in ("azure", "starlette", "httpx")}


def test_triggers_import_the_bindings_but_not_the_durable_sdk() -> None:
    pytest.importorskip("azure.functions")
    modules = imported_by("import perdure as df\napp = df.DFApp()\n@app.route(route='x')\ndef f(req): ...\n")
    assert "azure.functions" in modules
    assert "azure.durable_functions" not in modules


def test_an_app_of_1x_needs_nothing_of_the_protocol() -> None:
    pytest.importorskip("azure.durable_functions")
    code = f"""
from pathlib import Path
from perdure.host.application import Application
from perdure.host.configuration import load_settings
from perdure.host.loading import load_app

folder = Path({str(APPS / "decorated")!r})
storage = {{"AzureWebJobsStorage": "UseDevelopmentStorage=true"}}
Application(load_app(folder), load_settings(folder), keys=None, app_settings=storage)
"""
    assert not {name for name in imported_by(code) if name.partition(".")[0] in ("google", "grpc", "durabletask", "hpack")}


def test_without_azure_functions_a_trigger_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import perdure as df

    monkeypatch.setitem(sys.modules, "azure.functions.decorators.function_app", None)
    app = df.DFApp()

    def start(req: object) -> None: ...

    with pytest.raises(df.FunctionDefinitionError, match=r"pip install 'perdure\[host\]'"):
        app.route(route="x")(start)
