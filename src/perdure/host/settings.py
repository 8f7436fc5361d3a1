"""The effective configuration of a host: every value, and where it comes from.

Later wins: built-in default, ``host.json``, ``Values`` of ``local.settings.json``, environment, flags.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure.core.errors import PerdureError
from perdure.core.messages import ReusePolicy
from perdure.engine.settings import EngineSettings, RemoteSettings, Role
from perdure.host import setting_values as parse
from perdure.protocol.options import settings_from
from perdure.protocol.settings import ProtocolSettings


class SettingsError(PerdureError):
    """A configuration file, variable or flag can't be used. The message names each one, its place, and the fix."""

    code = "PD4501"


def setting(
    default: Any,
    parser: parse.Parser,
    doc: str,
    *,
    host_json: str = "",
    variable: str = "",
    local: str = "",
    flag: str = "",
    secret: bool = False,
) -> Any:
    """Describes a field of ``HostSettings``. ``variable``: Azure's name of an app setting; ``local``: a key below ``Host``."""
    told = {
        "parse": parser,
        "doc": doc,
        "host_json": host_json,
        "variable": variable,
        "local": local,
        "flag": flag,
        "secret": secret,
    }
    return field(default=default, metadata=told)


_DURABLE = "extensions.durableTask"
_QUEUES = "extensions.queues"
_ENGINE = EngineSettings()
_PROTOCOL = ProtocolSettings()


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """What a host runs with. Paths and SQLite URLs are absolute. ``PERDURE_`` and its name in capitals sets any of them."""

    folder: Path
    """The app's folder."""

    # --- where
    host: str = setting("127.0.0.1", parse.text, "Address to listen on.", flag="--host")
    port: int = setting(
        7071, parse.integer(0, 65535), "Port to listen on; 0 takes a free one.", local="LocalHttpPort", flag="--port"
    )
    store: str = setting("sqlite:///.perdure/hub.db", parse.text, "URL of the store that keeps the hub.", flag="--store")
    role: Role = setting(
        "all",
        parse.choice("all", "worker", "owner", "http"),
        "Its part in a shared hub: all, worker (only activities), owner (only orchestrations and entities), http (only clients).",
        flag="--role",
    )
    hub_name: str = setting("TestHubName", parse.text, "Name of the task hub.", host_json=f"{_DURABLE}.hubName", flag="--hub")
    keys_file: Path = setting(
        Path(".perdure/keys.json"), parse.path, "File with the host's keys, made on first start.", flag="--keys-file"
    )

    # --- HTTP
    route_prefix: str = setting(
        "api", parse.any_text, "First part of the functions' URLs; empty for none.", host_json="extensions.http.routePrefix"
    )
    max_request_bytes: int = setting(100 * 1024 * 1024, parse.integer(1), "Largest request body.")
    cors_origins: tuple[str, ...] = setting((), parse.texts, "Origins whose pages may call the host; * for all.", local="CORS")
    cors_credentials: bool = setting(False, parse.boolean, "Whether those pages may send cookies.", local="CORSCredentials")
    use_forwarded_host: bool = setting(
        False,
        parse.boolean,
        "Whether URLs in answers follow X-Forwarded-Host and -Proto.",
        host_json=f"{_DURABLE}.httpSettings.useForwardedHost",
    )
    show_stack_traces: bool = setting(False, parse.boolean, "Whether callers see the traceback of a function that failed.")

    # --- functions
    function_timeout: timedelta | None = setting(
        None, parse.limit_of_time, "How long a triggered function or an activity may take.", host_json="functionTimeout"
    )
    time_zone: str = setting("UTC", parse.text, "Time zone of timer triggers.", variable="WEBSITE_TIME_ZONE")
    drain_grace: timedelta = setting(timedelta(seconds=10), parse.time_span, "How long running work may go on after Ctrl-C.")
    log_level: str = setting(
        "INFO", parse.log_level, "Least level that is logged.", host_json="logging.logLevel.default", flag="--log-level"
    )

    # --- durable functions
    max_concurrent_activities: int = setting(
        _ENGINE.max_concurrent_activities,
        parse.integer(1),
        "Activities running at the same time.",
        host_json=f"{_DURABLE}.maxConcurrentActivityFunctions",
    )
    max_activity_threads: int = setting(
        _ENGINE.max_activity_threads,
        parse.integer(1),
        "Of those, `def` activities.",
        variable="PYTHON_THREADPOOL_THREAD_COUNT",
    )
    max_payload_bytes: int = setting(
        _ENGINE.max_payload_bytes, parse.integer(1), "Largest input, result, event or custom status, as JSON."
    )
    session_idle_timeout: timedelta = setting(
        _ENGINE.session_idle_timeout,
        parse.time_span,
        "An instance without a turn for this long leaves memory.",
        host_json=f"{_DURABLE}.extendedSessionIdleTimeoutInSeconds",
    )

    default_version: str | None = setting(
        None, parse.optional_text, "Version of instances whose start names none.", host_json=f"{_DURABLE}.defaultVersion"
    )
    overridable_existing_instance_states: str = setting(
        "NonRunningStates",
        parse.choice("NonRunningStates", "AnyState"),
        "Which instances a start with their id replaces.",
        host_json=f"{_DURABLE}.overridableExistingInstanceStates",
    )
    http_poll_interval: timedelta = setting(
        timedelta(seconds=30),
        parse.milliseconds,
        "Pause of `call_http` after a 202 without `Retry-After`, in milliseconds.",
        host_json=f"{_DURABLE}.httpSettings.defaultAsyncRequestSleepTimeMilliseconds",
    )

    # --- the Durable Task protocol
    grpc: bool = setting(
        False,
        parse.boolean,
        "Whether the Durable Task SDKs of every language are served over gRPC: clients, and workers for what the app lacks.",
        flag="--grpc",
    )
    grpc_host: str = setting(_PROTOCOL.host, parse.text, "Address to listen on for gRPC.", flag="--grpc-host")
    grpc_port: int = setting(_PROTOCOL.port, parse.integer(0, 65535), "Port for gRPC; 0 takes a free one.", flag="--grpc-port")
    grpc_token: str | None = setting(
        None, parse.optional_text, "Token that callers of gRPC have to show.", flag="--grpc-token", secret=True
    )
    grpc_token_file: Path | None = setting(
        None, parse.optional_path, "File with the tokens that they may show, one a line.", flag="--grpc-token-file"
    )
    grpc_cert: Path | None = setting(
        None, parse.optional_path, "Certificate (PEM) of the gRPC server, for TLS.", flag="--grpc-cert"
    )
    grpc_key: Path | None = setting(None, parse.optional_path, "Its private key (PEM).", flag="--grpc-key")
    grpc_client_ca: Path | None = setting(
        None,
        parse.optional_path,
        "Callers have to show a certificate of this authority (PEM), for mutual TLS.",
        flag="--grpc-client-ca",
    )
    grpc_max_message_bytes: int = setting(
        _PROTOCOL.max_message_bytes,
        parse.integer(1024, 1024**3),
        "Largest gRPC message that is taken or sent.",
        host_json=f"{_DURABLE}.maxGrpcMessageSizeInBytes",
    )

    # --- queue triggers
    queue_batch_size: int = setting(
        16, parse.integer(1, 32), "Messages a queue trigger takes at once.", host_json=f"{_QUEUES}.batchSize"
    )
    queue_new_batch_threshold: int = setting(
        8, parse.integer(0), "It takes more when no more than this many are left.", host_json=f"{_QUEUES}.newBatchThreshold"
    )
    queue_max_dequeue_count: int = setting(
        5, parse.integer(1), "Tries of a message before it goes to the poison queue.", host_json=f"{_QUEUES}.maxDequeueCount"
    )
    queue_max_polling_interval: timedelta = setting(
        timedelta(minutes=1),
        parse.time_span,
        "Longest pause between two looks into an empty queue.",
        host_json=f"{_QUEUES}.maxPollingInterval",
    )
    queue_visibility_timeout: timedelta = setting(
        timedelta(), parse.time_span, "Pause before a message is tried again.", host_json=f"{_QUEUES}.visibilityTimeout"
    )
    queue_message_encoding: str = setting(
        "base64", parse.choice("base64", "none"), "How messages are encoded.", host_json=f"{_QUEUES}.messageEncoding"
    )

    # --- about the values themselves
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """``Values`` of ``local.settings.json``."""
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where each value comes from, for those that aren't defaults."""
    warnings: tuple[str, ...] = ()
    """Keys that nobody knows, with their place and the nearest known key."""
    notices: tuple[str, ...] = ()
    """Keys of Azure's that have no meaning here, with the reason."""

    def apply_values(self, environment: MutableMapping[str, str]) -> None:
        """Gives the app its app settings; what the environment has already stays as it is."""
        for name, value in self.values.items():
            environment.setdefault(name, value)

    @property
    def serves_functions(self) -> bool:
        """Whether triggers and the management API are there; the other roles only tell how they are."""
        return self.role in ("all", "http")

    @property
    def reuse_policy(self) -> ReusePolicy:
        """What a start does that finds its id taken."""
        any_state = self.overridable_existing_instance_states == "AnyState"
        return ReusePolicy.REPLACE if any_state else ReusePolicy.ONLY_IF_TERMINAL

    def engine(self) -> EngineSettings:
        """What the engine gets of it."""
        return EngineSettings(
            max_concurrent_activities=self.max_concurrent_activities,
            max_activity_threads=self.max_activity_threads,
            max_payload_bytes=self.max_payload_bytes,
            session_idle_timeout=self.session_idle_timeout,
            drain_grace=self.drain_grace,
            role=self.role,
            remote=RemoteSettings() if self.grpc else None,
        )

    def protocol(self) -> ProtocolSettings | None:
        """What the gRPC server gets of it; ``None`` where there is none.

        Raises:
            ServerSettingsError: options contradict each other, or the token file can't be used.
        """
        if not self.grpc:
            return None
        return settings_from(
            host=self.grpc_host,
            port=self.grpc_port,
            token=self.grpc_token,
            token_file=self.grpc_token_file,
            certificate=self.grpc_cert,
            key=self.grpc_key,
            client_ca=self.grpc_client_ca,
            max_message_bytes=self.grpc_max_message_bytes,
            drain_grace=self.drain_grace,
        )


@dataclass(frozen=True, slots=True)
class Definition:
    """One setting: its name, its default, and the names under which it can be given."""

    name: str
    default: Any
    parse: parse.Parser
    doc: str
    host_json: str
    variable: str
    local: str
    flag: str
    secret: bool

    @property
    def perdure_variable(self) -> str:
        """Its environment variable."""
        return f"PERDURE_{self.name.upper()}"


DEFINITIONS: tuple[Definition, ...] = tuple(
    Definition(name=item.name, default=item.default, **item.metadata) for item in fields(HostSettings) if item.metadata
)
