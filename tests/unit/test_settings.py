import re
from datetime import timedelta
from pathlib import Path

import pytest

from perdure.core.messages import ReusePolicy
from perdure.host.configuration import load_settings
from perdure.host.host_json_keys import NO_MEANING
from perdure.host.settings import DEFINITIONS, HostSettings, SettingsError


def _app(folder: Path, host: str = "", local: str = "") -> Path:
    if host:
        (folder / "host.json").write_text(host, encoding="utf-8")
    if local:
        (folder / "local.settings.json").write_text(local, encoding="utf-8")
    return folder


def _durable(key: str, value: str) -> str:
    return f'{{"version": "2.0", "extensions": {{"durableTask": {{"{key}": {value}}}}}}}'


def _load(folder: Path, *flags: dict[str, object], **environment: str) -> HostSettings:
    return load_settings(folder, flags[0] if flags else None, environment)


def test_an_empty_folder_gives_the_defaults_with_paths_inside_of_it(tmp_path: Path) -> None:
    settings = _load(tmp_path)
    assert (settings.host, settings.port, settings.route_prefix, settings.hub_name) == ("127.0.0.1", 7071, "api", "TestHubName")
    assert settings.store == f"sqlite:///{tmp_path}/.perdure/hub.db"
    assert settings.keys_file == tmp_path / ".perdure/keys.json"
    assert settings.function_timeout is None
    assert not settings.origins
    assert not settings.warnings
    assert not settings.notices


def test_each_source_outranks_those_before_it(tmp_path: Path) -> None:
    host = "AzureFunctionsJobHost__extensions__durableTask__hubName"
    assert _load(tmp_path).hub_name == "TestHubName"
    _app(tmp_path, _durable("hubName", '"of-host-json"'))
    assert _load(tmp_path).hub_name == "of-host-json"
    _app(tmp_path, local=f'{{"Values": {{"{host}": "of-values"}}}}')
    assert _load(tmp_path).hub_name == "of-values"
    _app(tmp_path, local=f'{{"Values": {{"{host}": "of-values", "PERDURE_HUB_NAME": "own-of-values"}}}}')
    assert _load(tmp_path).hub_name == "own-of-values"
    assert _load(tmp_path, **{host: "of-environment"}).hub_name == "of-environment"
    both = _load(tmp_path, **{host: "of-environment", "PERDURE_HUB_NAME": "own-of-environment"})
    assert both.hub_name == "own-of-environment"
    assert both.origins["hub_name"] == "environment PERDURE_HUB_NAME"
    flagged = _load(tmp_path, {"hub_name": "of-flag", "port": None}, PERDURE_HUB_NAME="own-of-environment")
    assert flagged.hub_name == "of-flag"
    assert flagged.origins == {"hub_name": "flag --hub"}


def test_an_overriding_variable_matches_in_any_case(tmp_path: Path) -> None:
    settings = _load(tmp_path, azurefunctionsjobhost__EXTENSIONS__http__routeprefix="v1")
    assert settings.route_prefix == "v1"


def test_relative_paths_are_meant_from_where_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "else where"
    app = tmp_path / "app"
    elsewhere.mkdir()
    app.mkdir()
    monkeypatch.chdir(elsewhere)
    _app(app, local='{"Values": {"PERDURE_KEYS_FILE": "keys/k.json"}}')
    settings = _load(app, {"store": "sqlite:///hub%20one.db"})
    assert settings.keys_file == app / "keys/k.json"
    assert settings.store == f"sqlite:///{tmp_path}/else%20where/hub%20one.db"
    assert _load(app, PERDURE_STORE="hub.db").store == f"sqlite:///{tmp_path}/else%20where/hub.db"
    assert _load(app, {"store": "memory://"}).store == "memory://"


def test_app_settings_replace_their_names_between_percent_signs(tmp_path: Path) -> None:
    _app(tmp_path, _durable("hubName", '"%Hub%-%Stage%"'), '{"Values": {"Hub": "orders", "Stage": "dev"}}')
    assert _load(tmp_path, Stage="production").hub_name == "orders-production"


def test_a_missing_app_setting_is_an_error_that_names_it(tmp_path: Path) -> None:
    _app(tmp_path, _durable("hubName", '"%Hub%"'))
    with pytest.raises(SettingsError, match=r"host\.json:1:51: there is no app setting 'Hub'.*local\.settings\.json"):
        _load(tmp_path)


def test_values_go_into_the_environment_but_replace_nothing(tmp_path: Path) -> None:
    _app(tmp_path, local='{"IsEncrypted": false, "Values": {"A": "1", "B": "2"}}')
    environment = {"A": "set before"}
    load_settings(tmp_path, environment=environment).apply_values(environment)
    assert environment == {"A": "set before", "B": "2"}


def test_comments_a_byte_order_mark_and_trailing_commas_are_fine(tmp_path: Path) -> None:
    text = '﻿{ // which version\n "version": "2.0", /* of\n the file */ "functionTimeout": "00:05:00", "functions": [1, 2,],}'
    settings = _load(_app(tmp_path, text))
    assert settings.function_timeout == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"host\.json:1:1: the file ends in the middle"),
        ("{", r"host\.json:1:2: a key in double quotes"),
        ('{\n  "a": 1\n  "b": 2}', r"host\.json:3:3: a comma or a closing \} is expected"),
        ('{"a" 1}', r"host\.json:1:6: a colon is expected after \"a\""),
        ('{"a": True}', r"host\.json:1:7: a value is expected here: .*true, false and null are lower case"),
        ("{'a': 1}", r"host\.json:1:2: a key in double quotes"),
        ('{"a": "x}', r"host\.json:1:7: this string can't be read"),
        ('{"a": "C:\\dir"}', r"host\.json:1:\d+: this string can't be read.*write \\ as \\\\"),
        ("{} {}", r"host\.json:1:4: there is more after the end"),
        ("[" * 100, r"nested deeper than 64"),
        ("[]", r"host\.json:1:1: the file has to hold an object"),
    ],
)
def test_a_malformed_file_is_an_error_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "host.json").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=told):
        _load(tmp_path)


def test_a_file_that_is_not_utf_8_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_bytes(b'{\n"version": "\xff"}')
    with pytest.raises(SettingsError, match=r"host\.json:2:1: the file is not UTF-8"):
        _load(tmp_path)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    _app(tmp_path, _durable("maxConcurrentActivityFunctions", '"many"'), '{"Host": {"LocalHttpPort": 99999}, "Values": {"A": 1}}')
    with pytest.raises(SettingsError) as raised:
        _load(tmp_path, {"log_level": "loud"}, PERDURE_FUNCTION_TIMEOUT="soon")
    lines = raised.value.message.splitlines()
    assert len(lines) == 5
    for part in (
        "host.json:1:51: 'many' is no value for max_concurrent_activities: a whole number of at least 1 is expected.",
        "local.settings.json:1:11: 99999 is no value for port: a whole number from 0 to 65535 is expected.",
        "values have to be texts",
        "environment PERDURE_FUNCTION_TIMEOUT: 'soon' is no value for function_timeout: a time span",
        "--log-level: 'loud' is no value for log_level: one of debug",
    ):
        assert any(part in line for line in lines), (part, lines)


def test_encrypted_values_are_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    _app(tmp_path, local='{"IsEncrypted": true, "Values": {"A": "x"}}')
    with pytest.raises(SettingsError, match="func settings decrypt"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("host", "local", "variable", "told"),
    [
        (_durable("hubNam", '"x"'), "", "", "host.json:1:51: .*hubNam' is not known.*Did you mean '.*hubName'"),
        (_durable("storageProviderr", "{}"), "", "", "Did you mean 'extensions.durableTask.storageProvider'"),
        ('{"extension": {}}', "", "", "'extension' is not known and changes nothing."),
        ('{"version": "1.0"}', "", "", "version '1.0' is not known"),
        ("", '{"Valuess": {}}', "", "Did you mean 'Values'"),
        ("", '{"Host": {"LocalHttpPorts": 1}}', "", "Did you mean 'Host.LocalHttpPort'"),
        ("", "", "PERDURE_PROT", "Did you mean 'PERDURE_PORT'"),
        ("", "", "AzureFunctionsJobHost__extensions__http__routePrefx", "Did you mean '.*__http__routePrefix'"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_a_warning_with_the_nearest_known_one(
    tmp_path: Path, host: str, local: str, variable: str, told: str
) -> None:
    settings = _load(_app(tmp_path, host, local), **({variable: "1"} if variable else {}))
    assert len(settings.warnings) == 1
    assert re.search(told, settings.warnings[0]), settings.warnings


# The keys of "extensions.durableTask" in Azure's documentation, with a value as it may stand there.
AZURE_KEYS = {
    "hubName": '"H"',
    "defaultVersion": '"1"',
    "versionMatchStrategy": '"CurrentOrOlder"',
    "versionFailureStrategy": '"Reject"',
    "maxConcurrentActivityFunctions": "10",
    "maxConcurrentOrchestratorFunctions": "10",
    "maxConcurrentEntityFunctions": "10",
    "maxEntityOperationBatchSize": "50",
    "extendedSessionsEnabled": "true",
    "extendedSessionIdleTimeoutInSeconds": "30",
    "maxOrchestrationActions": "100000",
    "overridableExistingInstanceStates": '"AnyState"',
    "entityMessageReorderWindowInMinutes": "30",
    "useGracefulShutdown": "true",
    "rollbackEntityOperationsOnExceptions": "true",
    "throwStatusExceptionsOnRaiseEvent": "true",
    "useAppLease": "true",
    "storeInputsInOrchestrationHistory": "true",
    "localRpcEndpointEnabled": "true",
    "maxGrpcMessageSizeInBytes": "4194304",
    "grpcHttpClientTimeout": '"00:01:40"',
    "maxQueuePollingInterval": '"00:00:30"',
    "httpSettings": '{"defaultAsyncRequestSleepTimeMilliseconds": 5000, "useForwardedHost": true}',
    "tracing": '{"traceInputsAndOutputs": true, "traceReplayEvents": false, "distributedTracingEnabled": true, "version": "V2"}',
    "notifications": '{"eventGrid": {"topicEndpoint": "x", "publishRetryHttpStatus": [400], "publishEventTypes": ["Started"]}}',
    "storageProvider": '{"type": "mssql", "connectionStringName": "SQL", "partitionCount": 4, "controlQueueBatchSize": 32}',
}


@pytest.mark.parametrize("key", AZURE_KEYS)
def test_every_key_of_azure_is_mapped_or_reported_as_having_no_meaning(tmp_path: Path, key: str) -> None:
    settings = _load(_app(tmp_path, _durable(key, AZURE_KEYS[key])))
    assert not settings.warnings
    assert settings.origins or settings.notices


def test_mapped_keys_reach_the_engine(tmp_path: Path) -> None:
    _app(
        tmp_path,
        '{"extensions": {"durableTask": {"maxConcurrentActivityFunctions": 7, "extendedSessionIdleTimeoutInSeconds": 90}}}',
    )
    settings = _load(tmp_path, PERDURE_DRAIN_GRACE="2.5", PYTHON_THREADPOOL_THREAD_COUNT="3")
    engine = settings.engine()
    assert engine.max_concurrent_activities == 7
    assert engine.session_idle_timeout == timedelta(seconds=90)
    assert engine.max_activity_threads == 3
    assert engine.drain_grace == timedelta(seconds=2.5)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ('"00:05:00"', timedelta(minutes=5)),
        ('"1.02:00:00"', timedelta(days=1, hours=2)),
        ('"00:00:01.5"', timedelta(seconds=1.5)),
        ('"-1"', None),
        ("-1", None),
    ],
)
def test_a_function_timeout_is_a_time_span_or_no_limit(tmp_path: Path, text: str, span: timedelta | None) -> None:
    settings = _load(_app(tmp_path, f'{{"functionTimeout": {text}}}'))
    assert settings.function_timeout == span
    assert "function_timeout" in settings.origins


@pytest.mark.parametrize(
    ("local", "origins"),
    [('"*"', ("*",)), ('"https://a.example, https://b.example"', ("https://a.example", "https://b.example"))],
)
def test_cors_is_a_list_with_commas(tmp_path: Path, local: str, origins: tuple[str, ...]) -> None:
    assert _load(_app(tmp_path, local=f'{{"Host": {{"CORS": {local}}}}}')).cors_origins == origins


def test_no_key_both_sets_something_and_has_no_meaning() -> None:
    mapped = {definition.host_json.casefold() for definition in DEFINITIONS if definition.host_json}
    assert not mapped & {key.casefold() for key in NO_MEANING}


def test_every_default_is_a_value_that_its_own_parser_takes() -> None:
    for definition in DEFINITIONS:
        if definition.default is not None and definition.name not in ("keys_file", "cors_origins"):
            assert definition.parse(definition.default) == definition.default, definition.name


def test_what_starts_and_polls_do_by_default_comes_from_host_json(tmp_path: Path) -> None:
    given = _load(
        _app(
            tmp_path,
            '{"extensions": {"durableTask": {"defaultVersion": "2.1", "overridableExistingInstanceStates": "anystate", '
            '"httpSettings": {"defaultAsyncRequestSleepTimeMilliseconds": 1500}}}}',
        )
    )
    assert given.default_version == "2.1"
    assert given.reuse_policy is ReusePolicy.REPLACE
    assert given.http_poll_interval == timedelta(seconds=1.5)


def test_without_them_they_do_what_durable_functions_does(tmp_path: Path) -> None:
    defaults = _load(_app(tmp_path, _durable("defaultVersion", '""')))
    assert defaults.default_version is None
    assert defaults.reuse_policy is ReusePolicy.ONLY_IF_TERMINAL
    assert defaults.http_poll_interval == timedelta(seconds=30)
