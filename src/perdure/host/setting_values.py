"""From what a file, a variable or a flag says to a setting's value. Every parser tells what it would have accepted."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

Parser = Callable[[Any], Any]

_TIME_SPAN = re.compile(r"(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{1,2})(?::(?P<seconds>\d{1,2}(?:\.\d{1,7})?))?")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_LEVELS = {
    "trace": "DEBUG",
    "debug": "DEBUG",
    "information": "INFO",
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "critical": "CRITICAL",
    "none": "CRITICAL",
}


def text(value: Any) -> str:
    """Any text but the empty one."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text is expected")
    return value.strip()


def any_text(value: Any) -> str:
    """Any text, the empty one too."""
    if isinstance(value, str):
        return value.strip()
    raise ValueError('a text is expected ("" for none)')


def optional_text(value: Any) -> str | None:
    """Any text; the empty one stands for none."""
    return any_text(value) or None


def path(value: Any) -> Path:
    """Where a file is."""
    return value if isinstance(value, Path) else Path(text(value))


def optional_path(value: Any) -> Path | None:
    """Where a file is; the empty text stands for none."""
    return None if value == "" else path(value)


def integer(least: int, most: int = 2**53) -> Parser:
    """A whole number within bounds."""

    def parse(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            limit = f"from {least} to {most}" if most < 2**53 else f"of at least {least}"
            raise ValueError(f"a whole number {limit} is expected")
        return number

    return parse


def boolean(value: Any) -> bool:
    """True or false, or a word for it."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("true or false is expected")


def choice(*options: str) -> Parser:
    """One of a few words, in any case."""

    def parse(value: Any) -> str:
        for option in options:
            if isinstance(value, str) and value.strip().lower() == option.lower():
                return option
        raise ValueError(f"one of {', '.join(options)} is expected")

    return parse


def time_span(value: Any) -> timedelta:
    """``hh:mm:ss``, ``d.hh:mm:ss``, or seconds as a number."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return timedelta(seconds=value)
    if isinstance(value, str):
        match = _TIME_SPAN.fullmatch(value.strip())
        if match is not None:
            parts = {unit: float(number) for unit, number in match.groupdict().items() if number is not None}
            return timedelta(**parts)
        try:
            return time_span(float(value))
        except ValueError:
            pass
    raise ValueError('a time span such as "00:05:00" (hh:mm:ss) or a number of seconds is expected')


def milliseconds(value: Any) -> timedelta:
    """A whole number of milliseconds."""
    if isinstance(value, timedelta):
        return value
    return timedelta(milliseconds=integer(0, 86_400_000)(value))


def limit_of_time(value: Any) -> timedelta | None:
    """A time span; ``-1`` means none."""
    if value in (-1, "-1"):
        return None
    span = time_span(value)
    if not span:
        raise ValueError('more than nothing is expected, or "-1" for no limit')
    return span


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts, or one text with commas."""
    parts: object = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, list) and all(isinstance(part, str) for part in cast("list[object]", parts)):
        return tuple(part.strip() for part in cast("list[str]", parts) if part.strip())
    raise ValueError("texts separated by commas are expected")


def log_level(value: Any) -> str:
    """A level of Python's logging, from its own name or from .NET's."""
    level = _LEVELS.get(str(value).strip().lower())
    if level is None:
        raise ValueError("one of debug, info, warning, error, critical is expected")
    return level
