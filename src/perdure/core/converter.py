"""How values of user code become JSON text and come back, by annotation where there is one.

What msgspec knows is written and read natively: plain JSON values, dataclasses, Structs, NamedTuples, TypedDicts, enums, dates
and times, UUIDs, decimals, bytes (base64), sets, tuples, unions. Hooks add pydantic models, classes with a
``to_json``/``from_json`` pair, and subclasses of ``str``, ``int`` and ``float``. Without an annotation JSON comes back as
JSON: tuples as lists, dates as strings, keys of dicts as strings. No class is ever found by a name in a payload.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Annotated, Any, NamedTuple, Protocol, Union, cast, get_args, get_origin

import msgspec

from perdure.core.errors import PerdureError
from perdure.core.failures import qualified_name

_MAX_DECODERS = 1024
_MAX_DEPTH = 10_000
_MAX_SHOWN_PATH = 200
_LEVELS_SEARCHED_FOR_SIZE = 4
_NON_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""A NaN or an infinity in MessagePack. UTF-8 text never matches; a number or bytes may, by chance."""
_NO_ANNOTATION = (None, Any, inspect.Parameter.empty)


class SerializationError(PerdureError):
    """A value can't be written as JSON. The message names the offending part by its path."""

    code = "PD2001"


class DeserializationError(PerdureError):
    """JSON doesn't have the shape that the annotation asks for, or isn't JSON."""

    code = "PD2002"


class PayloadTooLargeError(PerdureError):
    """The JSON text of a value is longer than the hub allows."""

    code = "PD2003"


class Converter(Protocol):
    """Takes values to JSON text and back. ``JsonConverter`` is Perdure's own; functions written for another SDK bring theirs."""

    def encode(self, value: object, what: str, name: str) -> str | None:
        """As ``JsonConverter.encode``, with its errors."""
        ...

    def decode(self, text: str | None, type_: object, what: str, name: str) -> Any:
        """As ``JsonConverter.decode``, with its errors."""
        ...


class JsonConverter:
    """Writes any supported value so that reading it with the same annotation gives an equal one, or says why it can't.

    ``what`` and ``name`` ("input of activity", "charge") only serve error messages.
    """

    def __init__(self, max_payload_bytes: int = 8 * 1024 * 1024) -> None:
        self.max_payload_bytes = max_payload_bytes
        self._decoders: dict[object, Callable[[str], Any]] = {}

    def encode(self, value: object, what: str, name: str) -> str | None:
        """JSON text of ``value``; ``None``, i.e. no payload at all, for ``None``.

        Raises:
            SerializationError: ``value`` contains something that JSON can't hold.
            PayloadTooLargeError: the text is longer than ``max_payload_bytes``.
        """
        if value is None:
            return None
        try:
            data = _encode(value)
        except MemoryError:
            raise
        except Exception as error:
            raise _unwritable(value, what, name, error) from error
        text = data.decode()  # searching bytes takes several times as long as searching text
        if "null" in text and _may_hold_non_finite(value):
            # msgspec writes NaN as null: it would come back as None, silently.
            offence = _find_offence(value)
            if offence is not None:
                raise SerializationError(_describe_offence(offence, what, name))
        if len(data) > self.max_payload_bytes:
            raise PayloadTooLargeError(_describe_size(value, len(data), self.max_payload_bytes, what, name))
        return text

    def check_size(self, text: str | None, what: str, name: str) -> None:
        """Guarantees that a payload which came as text is as short as one that came as a value.

        Raises:
            PayloadTooLargeError: it is longer than ``max_payload_bytes``.
        """
        if text is None or len(text) * 4 <= self.max_payload_bytes:  # UTF-8 takes up to four bytes for a character
            return
        size = len(text.encode())
        if size > self.max_payload_bytes:
            raise PayloadTooLargeError(_describe_size(text, size, self.max_payload_bytes, what, name))

    def decode(self, text: str | None, type_: object, what: str, name: str) -> Any:
        """The value that ``text`` stands for, as ``type_`` says; ``None`` where there is no payload.

        Raises:
            DeserializationError: ``text`` doesn't fit ``type_``, isn't JSON, or ``type_`` can't be read from JSON.
        """
        if text is None:
            return None
        try:
            decode = self._decoders[type_]
        except (KeyError, TypeError):
            decode = self._decoder(type_, what, name)
        try:
            return decode(text)
        except MemoryError:
            raise
        except Exception as error:
            raise DeserializationError(_describe_misfit(type_, what, name, error)) from error

    def _decoder(self, type_: object, what: str, name: str) -> Callable[[str], Any]:
        try:
            decode = _make_decoder(type_)
        except Exception as error:
            raise DeserializationError(
                f"{what} {name!r} can't be read as {_type_text(type_)}: {error}. Use an annotation that JSON can be read into "
                "(a string annotation has to be resolved first), or leave it out to get plain JSON."
            ) from error
        if len(self._decoders) >= _MAX_DECODERS:
            self._decoders.clear()  # annotations made at run time must not pile up
        # An unhashable one, such as Annotated[int, []], works too, at the cost of a new decoder per call.
        with suppress(TypeError):
            self._decoders[type_] = decode
        return decode


def readable(text: str) -> Any:
    """The value of a payload, as far as it is JSON; else its text, since SDKs in other processes choose their own encoding."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


# --- hooks -----------------------------------------------------------------------------------------------------------


def _to_plain(value: object) -> object:
    cls = type(value)
    if _is_pydantic_model(cls):
        return cast("Any", value).model_dump(mode="json", by_alias=True)
    if _has_json_pair(cls):
        # Called through the class: azure-functions-durable allows static methods that take the object.
        return cast("Any", cls).to_json(value)
    for scalar in (str, int, float):
        if isinstance(value, scalar):
            return scalar(value)
    raise NotImplementedError(f"objects of type {qualified_name(cls)} aren't supported")


def _from_plain(type_: Any, plain: object) -> object:
    if type_ is object:
        return plain
    try:
        return _rebuild(type_, plain)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        # msgspec adds the path to a plain ValueError only.
        raise ValueError(_reason(error)) from error


def _rebuild(type_: Any, plain: object) -> object:
    if _is_pydantic_model(type_):
        # Through JSON, because only that way strict models accept what JSON has no type for.
        return _pydantic_decoder(type_.model_validate_json)(_encode(plain).decode())
    if _has_json_pair(type_):
        return type_.from_json(plain)
    for scalar in (str, int, float):
        if isinstance(type_, type) and issubclass(type_, scalar):
            return cast("Any", type_)(msgspec.convert(plain, scalar))
    name = _type_text(cast("object", type_))
    raise TypeError(f"`{name}` can't be read from JSON")


def _has_json_pair(cls: type) -> bool:
    return callable(getattr(cls, "to_json", None)) and callable(getattr(cls, "from_json", None))


def _is_pydantic_model(cls: object) -> bool:
    """Costs no import: where pydantic isn't imported, nothing can be a model of it."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(cls, type) and issubclass(cls, base) and hasattr(cls, "model_validate_json")


_encode = msgspec.json.Encoder(enc_hook=_to_plain).encode
_encode_msgpack = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode


def _make_decoder(type_: object) -> Callable[[str], Any]:
    if any(type_ is none for none in _NO_ANNOTATION):
        return msgspec.json.Decoder().decode
    if _is_pydantic_model(type_):
        return _pydantic_decoder(cast("Any", type_).model_validate_json)
    if _is_union_of_models(type_):
        # msgspec can't tell members of such a union apart; pydantic can.
        return _pydantic_decoder(cast("Any", sys.modules["pydantic"]).TypeAdapter(type_).validate_json)
    return msgspec.json.Decoder(cast("Any", type_), dec_hook=_from_plain).decode


def _is_union_of_models(type_: object) -> bool:
    if get_origin(type_) is Annotated:
        return _is_union_of_models(get_args(type_)[0])
    return get_origin(type_) in (Union, UnionType) and all(
        member is type(None) or _is_pydantic_model(member) for member in get_args(type_)
    )


def _pydantic_decoder(validate: Callable[[str], Any]) -> Callable[[str], Any]:
    def decode(text: str) -> object:
        try:
            return validate(text)
        except cast("Any", sys.modules["pydantic"]).ValidationError as error:
            errors: list[dict[str, Any]] = error.errors()
            # In msgspec's words, which also add the path where the model is only a part of the payload.
            first = errors[0]
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise ValueError(
                f"{first['msg']}, got `{type(first['input']).__name__}`{more} - at `${path}` of the model"
            ) from error

    return decode


# --- finding out what was wrong; only failed conversions pay for it ---------------------------------------------------


class _Offence(NamedTuple):
    path: str
    problem: str


def _may_hold_non_finite(value: object) -> bool:
    """Cheap enough for every payload with a null: MessagePack, unlike JSON, keeps NaN and infinities."""
    try:
        return _NON_FINITE.search(_encode_msgpack(value)) is not None
    except Exception:  # noqa: BLE001 - such as integers of more than 64 bits, which only JSON holds
        return True


def _find_offence(root: object) -> _Offence | None:
    """The first part that JSON can't hold. Needs no recursion, since depth or a cycle may be the very problem."""
    stack: list[tuple[str, int, Iterator[tuple[str, object]]]] = [("$", 0, iter([("", root)]))]
    above: set[int] = set()
    while stack:
        prefix, ident, siblings = stack[-1]
        try:
            step = next(siblings, None)
        except Exception as error:  # noqa: BLE001 - user code: to_json, properties, pydantic serializers
            return _Offence(prefix, f"raised {type(error).__name__} when it was converted: {error}")
        if step is None:
            stack.pop()
            above.discard(ident)
            continue
        path, part = prefix + step[0], step[1]
        if id(part) in above:
            return _Offence(path, "refers back to an object that contains it. Replace the reference, for example by an id")
        problem = _own_problem(part)
        if problem is not None:
            return _Offence(path, problem)
        parts = _parts(part)
        if parts is not None:
            if len(stack) > _MAX_DEPTH:
                return _Offence(path, f"is nested more than {_MAX_DEPTH} levels deep. Flatten it")
            above.add(id(part))
            stack.append((path, id(part), parts))
    return None


def _own_problem(part: object) -> str | None:
    """What is wrong with ``part`` itself, its parts aside."""
    if isinstance(part, float) and not math.isfinite(part):
        return f"is {float(part)}, which JSON doesn't have. Use None or a string instead"
    if isinstance(part, dict):
        for key in cast("dict[object, object]", part):
            problem = _encoding_problem({key: None}, key)
            if problem is not None:
                return f"has a key that {problem}"
        return None
    return None if _parts(part) is not None else _encoding_problem(part, part)


def _encoding_problem(probe: object, culprit: object) -> str | None:
    try:
        _encode(probe)
    except UnicodeError:
        return "is a `str` with a lone surrogate, which isn't text. Use bytes, or decode with errors='replace'"
    except Exception:  # noqa: BLE001 - the reason doesn't matter, the type does
        kind = "as a JSON key" if probe is not culprit else "as JSON"
        return (
            f"is of type `{qualified_name(type(culprit))}`, which can't be written {kind}. Convert it to plain JSON values or to "
            "a supported type such as a dataclass, or give its class a to_json()/from_json() pair"
        )
    return None


def _parts(value: object) -> Iterator[tuple[str, object]] | None:
    """What ``value`` is written as, piece by piece with its path; ``None`` where it has no pieces."""
    cls: Any = type(value)
    if isinstance(value, dict):
        return ((_key_path(key), child) for key, child in cast("dict[object, object]", value).items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{index}]", child) for index, child in enumerate(cast("list[object]", value)))
    if isinstance(value, Enum):
        return iter([("", value.value)])
    if isinstance(value, msgspec.Struct):
        return _attributes(value, value.__struct_fields__)
    if is_dataclass(cls):
        return _attributes(value, [field.name for field in fields(cls)])
    if hasattr(cls, "__attrs_attrs__"):
        return _attributes(value, [attribute.name for attribute in cls.__attrs_attrs__])
    if _is_pydantic_model(cls) or _has_json_pair(cls):
        return (("", _to_plain(one)) for one in (value,))
    return None


def _attributes(value: object, names: Iterable[str]) -> Iterator[tuple[str, object]]:
    for name in names:
        child = getattr(value, name, msgspec.UNSET)
        if child is not msgspec.UNSET:
            yield f".{name}", child


def _key_path(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{str(key)!r}]"


def _unwritable(value: object, what: str, name: str, error: Exception) -> SerializationError:
    offence = _find_offence(value)
    if offence is None:
        deep = isinstance(error, RecursionError)
        offence = _Offence("$", "is nested too deeply. Flatten it" if deep else f"can't be converted: {error}")
    return SerializationError(_describe_offence(offence, what, name))


def _describe_offence(offence: _Offence, what: str, name: str) -> str:
    path, problem = offence
    if len(path) > _MAX_SHOWN_PATH:
        path = f"{path[: _MAX_SHOWN_PATH // 2]}...{path[-_MAX_SHOWN_PATH // 2 :]}"
    return f"{what} {name!r} can't be written as JSON: `{path}` {problem}."


def _describe_size(value: object, size: int, limit: int, what: str, name: str) -> str:
    path, part_size = "$", size
    for _ in range(_LEVELS_SEARCHED_FOR_SIZE):
        sizes = ((len(_encode(part)), step, part) for step, part in _parts(value) or ())
        largest = max(sizes, key=lambda entry: entry[0], default=None)
        if largest is None or 2 * largest[0] < part_size:
            break
        part_size, step, value = largest
        path += step
    where = f" Most of it is `{path}` with {part_size:,} bytes." if path != "$" else ""
    return (
        f"{what} {name!r} takes {size:,} bytes of JSON; the limit (max_payload_bytes) is {limit:,}.{where} "
        "Keep large data elsewhere and pass a reference to it, or raise the limit."
    )


def _describe_misfit(type_: object, what: str, name: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"{what} {name!r} is nested too deeply to be read. Flatten it where it is made."
    if isinstance(error, UnicodeError) or (
        isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError)
    ):
        return f"{what} {name!r} isn't valid JSON: {error}. Correct what sends it."
    reason = _reason(error)
    if "at `$" not in reason:
        reason += " - at `$`"
    return f"{what} {name!r} doesn't fit {_type_text(type_)}: {reason}. Correct what sends it, or the annotation."


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {error}"


def _type_text(type_: object) -> str:
    return type_.__qualname__ if isinstance(type_, type) else str(type_).replace("typing.", "")
