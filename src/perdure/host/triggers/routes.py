"""Route templates of Azure Functions (those of ASP.NET): which request belongs to which function, and with what parameters.

Of several templates that match, the most specific one wins, segment by segment: literal text beats a constrained parameter, that
beats a free one, and a catch-all comes last. Letters match in any case.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from perdure.host.triggers.errors import RouteTemplateError

Check = Callable[[str], bool]
_PARAMETER = re.compile(
    r"(?P<catch_all>\*{0,2})(?P<name>[^\W\d]\w*)(?P<constraints>(?::\w+(?:\(.*\))?)*)(?P<default>=[^?]*)?(?P<optional>\??)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled template."""

    template: str
    pattern: re.Pattern[str]
    checks: tuple[tuple[str, tuple[Check, ...]], ...]
    defaults: tuple[tuple[str, str], ...]
    rank: tuple[int, ...]
    """Sorts before those of less specific routes."""
    shape: str
    """Equal for templates that match the same paths."""

    @property
    def is_literal(self) -> bool:
        """Whether it matches exactly one path."""
        return all(rank == 1 for rank in self.rank)

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters, if ``path`` (without slashes at its ends) belongs to this route."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        values = {name: value for name, value in found.groupdict().items() if value}
        for name, checks in self.checks:
            value = values.get(name)
            if value is not None and not all(check(value) for check in checks):
                return None
        for name, value in self.defaults:
            values.setdefault(name, value)
        return values


def compile_route(template: str) -> Route:
    """The route that a template describes.

    Raises:
        RouteTemplateError: it breaks the rules; the message says which one.
    """
    compiler = _Compiler(template)
    text = template.strip("/")
    for position, segment in enumerate(_split(template, text)):
        compiler.segment(segment, first=position == 0)
    return compiler.route()


def _split(template: str, text: str) -> list[str]:
    """At the slashes outside of braces: a regex constraint may hold some."""
    segments: list[str] = [""]
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            break
        if char == "/" and not depth:
            segments.append("")
        else:
            segments[-1] += char
    if depth:
        raise RouteTemplateError(f"route '{template}': its braces don't match")
    if "" in segments and text:
        raise RouteTemplateError(f"route '{template}' has an empty segment: delete one of the slashes")
    return segments


def _parts(segment: str) -> list[str]:
    """Literal text and ``{parameters}``, in turn."""
    parts: list[str] = []
    depth = 0
    for char in segment:
        if not parts or (char == "{" and not depth) or (not depth and parts[-1].startswith("{")):
            parts.append("")
        depth += (char == "{") - (char == "}")
        parts[-1] += char
    return parts


class _Compiler:
    def __init__(self, template: str) -> None:
        self._template = template
        self._pattern: list[str] = []
        self._shape: list[str] = []
        self._rank: list[int] = []
        self._checks: list[tuple[str, tuple[Check, ...]]] = []
        self._defaults: list[tuple[str, str]] = []
        self._names: set[str] = set()
        self._ended = ""

    def route(self) -> Route:
        return Route(
            self._template,
            re.compile("".join(self._pattern), re.IGNORECASE | re.DOTALL),
            tuple(self._checks),
            tuple(self._defaults),
            tuple(self._rank),
            "".join(self._shape).casefold(),
        )

    def segment(self, segment: str, *, first: bool) -> None:
        if self._ended:
            raise self._error(f"nothing can follow {self._ended}")
        slash = "" if first else "/"
        parts = _parts(segment)
        if len(parts) == 1 and parts[0].startswith("{"):
            self._lone_parameter(parts[0][1:-1], slash)
            return
        self._pattern.append(slash)
        self._shape.append(slash)
        self._rank.append(1 if len(parts) < 2 else 2)
        if any(one.startswith("{") and other.startswith("{") for one, other in pairwise(parts)):
            raise self._error(f"two parameters stand next to each other in '{segment}': put text between them")
        for part in parts:
            if part.startswith("{"):
                name, _, checks = self._parameter(part[1:-1], alone=False)
                self._pattern.append(f"(?P<{name}>[^/]+?)")
                self._shape.append(f"{{{checks}}}")
            else:
                if "{" in part or "}" in part or "*" in part or "?" in part:
                    raise self._error(f"'{segment}' has a character that only belongs into {{parameters}}")
                self._pattern.append(re.escape(part))
                self._shape.append(part)

    def _lone_parameter(self, text: str, slash: str) -> None:
        name, found, checks = self._parameter(text, alone=True)
        if found["catch_all"]:
            self._ended = f"the catch-all '{{{text}}}'"
            self._pattern.append(f"(?:{slash}(?P<{name}>.*))?")
            self._rank.append(5 if checks else 6)
            kind = "**"
        elif found["optional"] or found["default"] is not None:
            self._ended = f"the optional '{{{text}}}'"
            self._pattern.append(f"(?:{slash}(?P<{name}>[^/]+))?")
            self._rank.append(3 if checks else 4)
            kind = "?"
        else:
            self._pattern.append(f"{slash}(?P<{name}>[^/]+)")
            self._rank.append(3 if checks else 4)
            kind = ""
        self._shape.append(f"{slash}{{{checks}{kind}}}")

    def _parameter(self, text: str, *, alone: bool) -> tuple[str, dict[str, str | None], str]:
        match = _PARAMETER.fullmatch(text)
        if match is None:
            raise self._error(
                f"'{{{text}}}' is no parameter. Forms: {{name}}, {{name:int}}, {{name?}}, {{name=default}}, {{*rest}}"
            )
        found = match.groupdict()
        name: str = found["name"]
        if name.casefold() in self._names:
            raise self._error(f"two parameters have the name '{name}'")
        self._names.add(name.casefold())
        if not alone and (found["catch_all"] or found["optional"] or found["default"] is not None):
            raise self._error(f"'{{{text}}}' must be a segment of its own")
        if found["default"] is not None:
            self._defaults.append((name, found["default"][1:]))
        constraints: str = found["constraints"]
        checks = tuple(self._check(constraint) for constraint in _constraints(constraints))
        if checks:
            self._checks.append((name, checks))
        return name, found, constraints

    def _check(self, constraint: str) -> Check:
        kind, _, argument = constraint.partition("(")
        argument = argument.removesuffix(")")
        try:
            return _check(kind.strip().casefold(), argument)
        except (ValueError, re.error):
            raise self._error(f"'{constraint}' is not a constraint. Known: {_KNOWN}") from None

    def _error(self, problem: str) -> RouteTemplateError:
        return RouteTemplateError(f"route '{self._template}': {problem}")


def _constraints(text: str) -> list[str]:
    """``:int:min(1)`` in pieces; a colon in parentheses belongs to the argument."""
    pieces: list[str] = []
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == ":" and not depth:
            pieces.append("")
        elif pieces:
            pieces[-1] += char
    return pieces


def _is(parse: Callable[[str], object]) -> Check:
    def check(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return check


def _is_int(bits: int) -> Check:
    return lambda value: (
        re.fullmatch(r"[+-]?\d{1,19}", value, re.ASCII) is not None and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)
    )


_TYPES: dict[str, Check] = {
    "int": _is_int(32),
    "long": _is_int(64),
    "bool": lambda value: value.casefold() in ("true", "false"),
    "datetime": _is(datetime.fromisoformat),
    "decimal": lambda value: re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", value, re.ASCII) is not None,
    "double": _is(float),
    "float": _is(float),
    "guid": _is(UUID),
    "alpha": lambda value: re.fullmatch(r"[A-Za-z]*", value) is not None,
    "required": bool,
}
_KNOWN = ", ".join(
    [*_TYPES, "minlength(n)", "maxlength(n)", "length(n)", "length(a,b)", "min(n)", "max(n)", "range(a,b)", "regex(...)"]
)


def _check(kind: str, argument: str) -> Check:
    if kind == "regex":
        pattern = re.compile(argument.replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
        return lambda value: pattern.search(value) is not None
    if not argument:
        known = _TYPES.get(kind)
        if known is None:
            raise ValueError(kind)
        return known
    numbers = [int(number) for number in argument.split(",")]
    match kind, numbers:
        case "minlength", [low]:
            return lambda value: len(value) >= low
        case "maxlength", [high]:
            return lambda value: len(value) <= high
        case "length", [exact]:
            return lambda value: len(value) == exact
        case "length", [low, high]:
            return lambda value: low <= len(value) <= high
        case "min", [low]:
            return lambda value: _TYPES["long"](value) and int(value) >= low
        case "max", [high]:
            return lambda value: _TYPES["long"](value) and int(value) <= high
        case "range", [low, high]:
            return lambda value: _TYPES["long"](value) and low <= int(value) <= high
        case _:
            raise ValueError(kind)
