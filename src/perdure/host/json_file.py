"""Reads JSON as people write it in host.json: with comments and trailing commas. Knows where every key stands."""

import re
from dataclasses import dataclass, field
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, cast

_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_STRINGS = JSONDecoder()
_MAX_DEPTH = 64

KeyPath = tuple[str, ...]


class JsonSyntaxError(Exception):
    """The text is no JSON. ``line`` and ``column`` count from 1."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


@dataclass(frozen=True)
class JsonFile:
    """A file's value, and where each of its keys stands."""

    path: Path
    value: Any = None
    places: dict[KeyPath, tuple[int, int]] = field(default_factory=dict[KeyPath, tuple[int, int]])

    def place(self, key: KeyPath) -> str:
        """``file:line:column`` of a key, or of the nearest that holds it."""
        while key and key not in self.places:
            key = key[:-1]
        line, column = self.places.get(key, (1, 1))
        return f"{self.path}:{line}:{column}"


def read_json(path: Path) -> JsonFile:
    """The file's content. A byte order mark is fine, and so are comments and trailing commas.

    Raises:
        OSError: it can't be read.
        JsonSyntaxError: it isn't JSON, or not UTF-8.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise JsonSyntaxError("the file is not UTF-8: save it with that encoding", line, 1) from None
    reader = _Reader(text)
    return JsonFile(path, reader.document(), reader.places)


def as_object(value: Any) -> dict[str, Any] | None:
    """The value, if it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at: int = 0
        self.places: dict[KeyPath, tuple[int, int]] = {}

    def document(self) -> Any:
        value = self._value(())
        self._skip()
        if self._at < len(self._text):
            raise self._error("there is more after the end of the value: delete it, or check the brackets before it")
        return value

    def _value(self, key: KeyPath) -> Any:
        if len(key) > _MAX_DEPTH:
            raise self._error(f"values are nested deeper than {_MAX_DEPTH} levels")
        self._skip()
        match self._peek():
            case "{":
                return self._object(key)
            case "[":
                return self._array(key)
            case '"':
                return self._string()
            case "":
                raise self._error("the file ends in the middle: a value or a closing bracket is missing")
            case _:
                return self._scalar()

    def _object(self, key: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._at += 1
        while True:
            self._skip()
            if self._peek() == "}":
                self._at += 1
                return found
            if self._peek() != '"':
                raise self._error('a key in double quotes ("...") or a closing } is expected here')
            place = self._place()
            name = self._string()
            self.places[(*key, name)] = place
            self._skip()
            if self._peek() != ":":
                raise self._error(f'a colon is expected after "{name}"')
            self._at += 1
            found[name] = self._value((*key, name))
            self._next("}")

    def _array(self, key: KeyPath) -> list[Any]:
        found: list[Any] = []
        self._at += 1
        while True:
            self._skip()
            if self._peek() == "]":
                self._at += 1
                return found
            found.append(self._value((*key, str(len(found)))))
            self._next("]")

    def _next(self, closing: str) -> None:
        self._skip()
        if self._peek() == ",":
            self._at += 1
        elif self._peek() != closing:
            raise self._error(f"a comma or a closing {closing} is expected here")

    def _string(self) -> str:
        try:
            value, self._at = _STRINGS.raw_decode(self._text, self._at)
        except JSONDecodeError as error:
            self._at = error.pos
            raise self._error(
                f"this string can't be read ({error.msg}): close it with a double quote, write \\ as \\\\"
            ) from None
        return value

    def _scalar(self) -> Any:
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise self._error("a value is expected here: strings need double quotes; true, false and null are lower case")
        self._at = number.end()
        text = number.group()
        return int(text) if text.lstrip("-").isdigit() and len(text) < 20 else float(text)

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        if space is not None:
            self._at = space.end()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _place(self) -> tuple[int, int]:
        before = self._text.rfind("\n", 0, self._at)
        return self._text.count("\n", 0, self._at) + 1, self._at - before

    def _error(self, problem: str) -> JsonSyntaxError:
        return JsonSyntaxError(problem, *self._place())
