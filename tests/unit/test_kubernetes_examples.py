"""The manifests fit together, fit the host, and are those of the documentation. No cluster is at hand to try them."""

from typing import Any

import pytest
import typer
import yaml

from perdure.cli.main import app
from perdure.host.settings import DEFINITIONS
from tests.docs import pages
from tests.unit.host_lab import KEYS, served

FOLDER = pages.ROOT / "examples" / "kubernetes"
FILES = ("hub.yaml", "autoscaling.yaml")


def _objects() -> dict[str, Any]:
    """By kind, of which there is one each."""
    found = [each for name in FILES for each in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))]
    by_kind = {each["kind"]: each for each in found}
    assert len(by_kind) == len(found)
    return by_kind


def _pod() -> dict[str, Any]:
    return _objects()["Deployment"]["spec"]["template"]["spec"]


def _host() -> dict[str, Any]:
    (container,) = _pod()["containers"]
    return container


def test_every_manifest_is_here() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(FILES)
    assert set(_objects()) == {"Deployment", "Service", "TriggerAuthentication", "ScaledObject"}


def test_names_that_refer_to_each_other_are_the_same() -> None:
    objects = _objects()
    deployment, service, scaled = objects["Deployment"], objects["Service"], objects["ScaledObject"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == objects["TriggerAuthentication"]["metadata"]["name"]
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] == _host()["ports"][0]["name"]
    assert trigger["metadata"]["url"] == f"http://{service['metadata']['name']}:{port['port']}/admin/scale"
    volumes = {volume["name"]: volume for volume in _pod()["volumes"]}
    for container in (_host(), *_pod()["initContainers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    (secret,) = objects["TriggerAuthentication"]["spec"]["secretTargetRef"]
    assert secret["name"] == volumes["secret"]["secret"]["secretName"]


def test_the_command_is_one_that_perdure_understands() -> None:
    program, subcommand, _, *options = _host()["command"]
    command = typer.main.get_command(app).commands[subcommand]  # type: ignore[attr-defined]
    assert program == "perdure"
    context = command.make_context(subcommand, ["/app", *options])
    assert context.params["port"] == _host()["ports"][0]["containerPort"]
    assert context.params["keys_file"] == _pod()["initContainers"][0]["command"][-1]


def test_its_variables_are_settings_and_pods_get_longer_than_the_host_takes() -> None:
    given = {variable["name"]: variable for variable in _host()["env"]}
    by_variable = {definition.perdure_variable: definition for definition in DEFINITIONS}
    assert set(given) <= set(by_variable)
    grace = by_variable["PERDURE_DRAIN_GRACE"].parse(given["PERDURE_DRAIN_GRACE"]["value"])
    assert grace.total_seconds() < _pod()["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
async def test_probes_are_answered_without_a_key(probe: str) -> None:
    async with served(keys=KEYS) as client:
        assert (await client.get(_host()[probe]["httpGet"]["path"])).status_code == 200


async def test_the_autoscaler_finds_its_number_with_its_key() -> None:
    (trigger,) = _objects()["ScaledObject"]["spec"]["triggers"]
    asked = trigger["metadata"]
    async with served(keys=KEYS) as client:
        assert asked["method"] == "header"
        answer = await client.get(asked["url"].partition(":7071")[2], headers={asked["keyParamName"]: KEYS.master_key})
        assert answer.json()[asked["valueLocation"]] == 1


@pytest.mark.parametrize("name", FILES)
def test_the_documentation_shows_the_manifests_as_they_are(name: str) -> None:
    page = pages.DOCS / "how-to" / "autoscale-with-keda.md"
    shown = [block.text for block in pages.blocks(page) if block.language == "yaml"]
    assert (FOLDER / name).read_text(encoding="utf-8") in shown


async def test_the_documentation_shows_every_field_of_the_answer() -> None:
    text = (pages.DOCS / "how-to" / "autoscale-with-keda.md").read_text(encoding="utf-8")
    async with served() as client:
        for field in (await client.get("/admin/scale")).json():
            assert f"| `{field}` |" in text
            assert f'"{field}":' in text
