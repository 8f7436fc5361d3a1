"""What crosses between the engine and its worker processes: JSON in both directions, never a pickled value of the user's."""

import msgspec

from perdure.core.failures import FailureDetails


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Import a function. Separate from ``Run``, so that a slow import doesn't eat the time limit of the first activity."""

    name: str
    module: str
    qualname: str
    takes_input: bool
    input_type: bytes
    """The type the input is converted to. Types have no JSON form, so this one is pickled, by reference: it names classes."""


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Run a function that was loaded."""

    name: str
    input: str | None
    instance_id: str
    task_id: int
    attempt: int
    idempotency_key: str


class Reply(msgspec.Struct, frozen=True):
    """The answer to a request. An empty one says that the worker is up (unasked, at its start) or that a function is loaded."""

    result: str | None = None
    failure: FailureDetails | None = None


request_decoder: msgspec.json.Decoder[Load | Run] = msgspec.json.Decoder(Load | Run)
reply_decoder = msgspec.json.Decoder(Reply)
encode = msgspec.json.Encoder().encode
