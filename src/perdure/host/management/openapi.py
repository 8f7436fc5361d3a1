"""The management API described for machines (OpenAPI 3.1), complete enough to generate clients and tests from."""

from typing import Any

from perdure.client.links import ManagementLinks
from perdure.core.ids import MAX_INSTANCE_ID_LENGTH
from perdure.core.status import OrchestrationRuntimeStatus
from perdure.host.management.orchestrations import CONTINUATION_TOKEN, DEFAULT_PAGE_SIZE, MAX_WAIT_SECONDS
from perdure.host.management.payloads import JSON

Json = dict[str, Any]

_ANY: Json = {}
_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_MOMENT: Json = {"type": "string", "format": "date-time"}
_COUNT: Json = {"type": "integer", "minimum": 1}
_SECONDS: Json = {"type": "number", "minimum": 0}
_STATUS: Json = {"type": "string", "enum": [str(status) for status in OrchestrationRuntimeStatus]}
_NEW_ID: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_INSTANCE_ID_LENGTH,
    "pattern": r"^[^@/\\#?\x00-\x1f\x7f-\x9f][^/\\#?\x00-\x1f\x7f-\x9f]*$",
}
_SEGMENT: Json = {"type": "string", "minLength": 1}
_STRINGS: Json = {"type": "array", "items": {"type": "string"}}

_LINKS = list(ManagementLinks("").check_status_payload(""))
_SCHEMAS: Json = {
    "Error": {
        "type": "object",
        "properties": {"Message": _TEXT, "ExceptionMessage": _TEXT, "ExceptionType": _TEXT, "StackTrace": _TEXT},
        "required": ["Message", "ExceptionMessage", "ExceptionType"],
        "additionalProperties": False,
    },
    "InstanceStatus": {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "instanceId": _TEXT,
            "runtimeStatus": _STATUS,
            "input": {"description": "Any JSON value."},
            "customStatus": {"description": "Any JSON value."},
            "output": {"description": "Any JSON value; of a failed instance the failure, of a terminated one the reason."},
            "createdTime": _MOMENT,
            "lastUpdatedTime": _MOMENT,
            "historyEvents": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"EventType": _TEXT, "Timestamp": _TEXT},
                    "required": ["EventType", "Timestamp"],
                },
            },
        },
        "required": ["name", "instanceId", "runtimeStatus", "input", "customStatus", "output", "createdTime", "lastUpdatedTime"],
        "additionalProperties": False,
    },
    "CheckStatus": {
        "type": "object",
        "properties": dict.fromkeys(_LINKS, _TEXT),
        "required": _LINKS,
        "additionalProperties": False,
    },
    "Purged": {
        "type": "object",
        "properties": {"instancesDeleted": {"type": "integer", "minimum": 1}},
        "required": ["instancesDeleted"],
        "additionalProperties": False,
    },
    "Entity": {
        "type": "object",
        "properties": {
            "entityId": {"type": "object", "properties": {"name": _TEXT, "key": _TEXT}, "required": ["name", "key"]},
            "lastOperationTime": _MOMENT,
            "state": {"description": "Any JSON value."},
        },
        "required": ["entityId", "lastOperationTime", "state"],
    },
}

_ERRORS = {
    400: "An argument can't be understood.",
    401: "The key is missing or wrong.",
    404: "There is no such thing.",
    409: "The state of the instance forbids it now.",
    410: "The instance has ended.",
    413: "The body is too large.",
}
_LOCATION: Json = {
    "Location": {"schema": _TEXT, "required": True},
    "Retry-After": {"schema": {"type": "integer"}, "required": True},
}
_CONTINUATION: Json = {CONTINUATION_TOKEN: {"description": "Of the next page; absent on the last one.", "schema": _TEXT}}


def openapi_document(base_url: str, hub_name: str) -> Json:
    """The document for the API of a hub at ``base_url``."""
    paths = _orchestrations() | _entities()
    hub = _query("taskHub", {"type": "string", "enum": [hub_name]}, "Whose instances are meant, if it is given.")
    connection = _query("connection", _TEXT, "Accepted for compatibility.")
    for path in paths.values():
        path["parameters"] = [*path.get("parameters", ()), hub, connection]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perdure durable management API",
            "version": "1",
            "description": "The HTTP management API of Durable Functions. Path segments and parameter names may be in any case.",
        },
        "servers": [{"url": base_url}],
        "security": [{"code": []}, {"header": []}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "code": {"type": "apiKey", "in": "query", "name": "code"},
                "header": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
            },
        },
    }


def _orchestrations() -> Json:
    reason = _query("reason", _TEXT, "Kept with the instance.")
    fail_with_500 = _query("returnInternalServerErrorOnFailure", _FLAG, "Answer 500 instead of 200 for a failed instance.")
    show_input = _query("showInput", {**_FLAG, "default": True}, "Give inputs.")
    wait = [
        _query("timeout", _SECONDS, f"Wait up to so many seconds (at most {MAX_WAIT_SECONDS:.0f}) for the instance to end."),
        _query("pollingInterval", _SECONDS, "Accepted for compatibility: at most the timeout. Nothing polls."),
        fail_with_500,
    ]
    created = [
        _query("createdTimeFrom", _MOMENT, "Not created before then."),
        _query("createdTimeTo", _MOMENT, "Not created after then."),
        _query("runtimeStatus", {"type": "array", "items": _STATUS}, "Any of these; comma-separated or repeated.", explode=False),
    ]
    started = {
        "200": _answer("It has ended in time: its output, or its status if it did not complete.", _ANY),
        "202": _answer("It was started.", _ref("CheckStatus"), _LOCATION),
        "500": _answer("It has failed in time, and returnInternalServerErrorOnFailure was given.", _ref("InstanceStatus")),
    }
    any_json: Json = {"application/json": {"schema": _ANY}}
    version = _query("version", _TEXT, "What context.version shows.")
    start = _operation("Start an orchestration", [version, *wait], started, 400, 409, 413)
    start["requestBody"] = {"description": "The input; no body is null.", "required": False, "content": any_json}
    name, instance = _path("functionName", _SEGMENT), _path("instanceId", _SEGMENT)
    status = {
        "200": _answer("It has ended.", _ref("InstanceStatus")),
        "202": _answer("It has not ended.", _ref("InstanceStatus"), _LOCATION),
        "500": _answer("It has failed, and returnInternalServerErrorOnFailure was given.", _ref("InstanceStatus")),
    }
    show = [
        _query("showHistory", _FLAG, "Give the history."),
        _query("showHistoryOutput", _FLAG, "With results."),
        show_input,
        fail_with_500,
    ]
    listed = {"200": _answer("A page.", {"type": "array", "items": _ref("InstanceStatus")}, _CONTINUATION)}
    pages = [
        _query("instanceIdPrefix", _TEXT, "How the ids begin."),
        _query("name", _STRINGS, "Any of these orchestrators (not in Durable Functions).", explode=False),
        show_input,
        _query("top", {**_COUNT, "default": DEFAULT_PAGE_SIZE}, "Size of the page."),
        _token(),
    ]
    purged = {"200": _answer("They are gone.", _ref("Purged"))}
    done = {"202": _answer("It is done, durably.")}
    restart = [_query("restartWithNewInstanceId", {**_FLAG, "default": True}, "Under a new id."), *wait]
    recursive = _query("recursive", _FLAG, "Its running sub-orchestrations too (not in Durable Functions).")
    event = _operation("Raise an event", [], done, 400, 404, 410, 413)
    event["requestBody"] = {"description": "The payload.", "required": True, "content": any_json}
    purge_many = [{**created[0], "required": True}, *created[1:]]

    def steer(verb: str, *more: Json) -> Json:
        return {"parameters": [instance], "post": _operation(f"{verb} an instance", [reason, *more], done, 400, 404, 409, 410)}

    return {
        "/orchestrators/{functionName}": {"parameters": [name], "post": start},
        "/orchestrators/{functionName}/{instanceId}": {"parameters": [name, _path("instanceId", _NEW_ID)], "post": start},
        "/instances": {
            "get": _operation("List instances", [*created, *pages], listed, 400),
            "delete": _operation("Purge ended instances", purge_many, purged, 400, 404),
        },
        "/instances/{instanceId}": {
            "parameters": [instance],
            "get": _operation("Status of an instance", show, status, 400, 404),
            "delete": _operation("Purge an ended instance", [], purged, 400, 404, 409),
        },
        "/instances/{instanceId}/raiseEvent/{eventName}": {"parameters": [instance, _path("eventName", _SEGMENT)], "post": event},
        "/instances/{instanceId}/terminate": steer("Terminate", recursive),
        "/instances/{instanceId}/suspend": steer("Suspend"),
        "/instances/{instanceId}/resume": steer("Resume"),
        "/instances/{instanceId}/rewind": steer("Rewind"),
        "/instances/{instanceId}/restart": {
            "parameters": [instance],
            "post": _operation("Start again with the same input", restart, started, 400, 409),
        },
        "/makeprimary": {"post": _operation("Accepted for compatibility", [], {"200": _answer("It is the primary.")}, 400)},
        "/openapi.json": {"get": _operation("This document", [], {"200": _answer("OpenAPI 3.1.", {"type": "object"})}, 400)},
    }


def _entities() -> Json:
    name, key = _path("entityName", _SEGMENT), _path("entityKey", _SEGMENT)
    listed = {"200": _answer("A page.", {"type": "array", "items": _ref("Entity")}, _CONTINUATION)}
    filters = [
        _query("lastOperationTimeFrom", _MOMENT, "Not last used before then."),
        _query("lastOperationTimeTo", _MOMENT, "Not last used after then."),
        _query("fetchState", _FLAG, "Give states."),
        _query("top", {**_COUNT, "default": DEFAULT_PAGE_SIZE}, "Size of the page."),
        _token(),
    ]
    done = {"202": _answer("The operation can't get lost any more.")}
    signal = _operation("Signal an entity", [_query("op", {**_TEXT, "default": ""}, "The operation.")], done, 400, 413)
    body = {"application/json": {"schema": _ANY}, "text/plain": {"schema": _TEXT}}
    signal["requestBody"] = {"description": "The operation's input: JSON, or text.", "required": False, "content": body}
    listing = _operation("List entities", filters, listed, 400)
    return {
        "/entities": {"get": listing},
        "/entities/{entityName}": {"parameters": [name], "get": listing},
        "/entities/{entityName}/{entityKey}": {
            "parameters": [name, key],
            "get": _operation("State of an entity", [], {"200": _answer("Its state.", _ANY)}, 400, 404),
            "post": signal,
            "delete": _operation("Signal the operation 'delete'", [], done, 400),
        },
    }


def _operation(summary: str, parameters: list[Json], answers: Json, *errors: int) -> Json:
    refusals = {str(status): _answer(_ERRORS[status], _ref("Error")) for status in (*errors, 401)}
    return {"summary": summary, "parameters": parameters, "responses": answers | refusals}


def _answer(text: str, schema: Json | None = None, headers: Json | None = None) -> Json:
    answer: Json = {"description": text}
    if schema is not None:
        answer["content"] = {JSON: {"schema": schema}}
    if headers is not None:
        answer["headers"] = headers
    return answer


def _query(name: str, schema: Json, text: str, *, explode: bool = True) -> Json:
    parameter: Json = {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
    return parameter if explode else parameter | {"style": "form", "explode": False}


def _token() -> Json:
    text = "Of the page before."
    return {"name": CONTINUATION_TOKEN, "in": "header", "required": False, "description": text, "schema": _TEXT}


def _path(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
