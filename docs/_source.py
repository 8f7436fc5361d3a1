"""Reads what the generated pages say out of the source: signatures, docstrings, fields with the text below them."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

PACKAGE = Path(__file__).parent.parent / "src" / "perdure"
_PARAGRAPHS = ("Guaranteed:", "Not guaranteed:")
_SECTIONS = {"Args": "Parameters", "Raises": "Raises", "Returns": "Returns"}


@dataclass(frozen=True)
class Field:
    """One attribute of a class, with the text that stands below it."""

    name: str
    type: str
    default: str | None
    text: str


@cache
def tree(module: str) -> ast.Module:
    """The parsed module; ``module`` is relative to the package, such as ``core.events``."""
    path = PACKAGE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def definition(module: str, name: str) -> ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef:
    """The class or function of that name; a package's names are looked for where it imports them from."""
    for node in tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return definition(node.module.removeprefix("perdure."), name)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and name in map(ast.unparse, node.targets):
            return definition(module, node.value.id)
    raise LookupError(f"perdure.{module} has no class or function '{name}'")


def class_definition(module: str, name: str) -> ast.ClassDef:
    """As ``definition``, for a name that is a class."""
    node = definition(module, name)
    assert isinstance(node, ast.ClassDef)
    return node


def fields(node: ast.ClassDef) -> list[Field]:
    """The annotated attributes in the class body, and the members of an enum."""
    found: list[Field] = []
    for position, statement in enumerate(node.body):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                found.append(Field(name, ast.unparse(annotation), ast.unparse(value) if value else None, _below(node, position)))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                found.append(Field(name, type(value).__name__, repr(value), _below(node, position)))
            case _:
                pass
    return [field for field in found if not field.name.startswith("_")]


def methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public methods and properties; of overloaded ones the implementation, which has the docstring."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and not statement.name.startswith("_"):
            decorators = {ast.unparse(decorator) for decorator in statement.decorator_list}
            if "overload" not in decorators:
                yield statement


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is read like an attribute."""
    return any(ast.unparse(decorator) == "property" for decorator in node.decorator_list)


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The parameter list without ``self``."""
    text = ast.unparse(node.args)
    return re.sub(r"^self(, )?", "", text)


def markdown(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The docstring as Markdown."""
    lines = (ast.get_docstring(node) or "").splitlines()
    out: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if line.rstrip(":") in _SECTIONS and line.endswith(":"):
            block: list[str] = []
            while position < len(lines) and (not lines[position].strip() or lines[position].startswith(" ")):
                block.append(lines[position])
                position += 1
            title = line[:-1]
            items = _items(dedent("\n".join(block)).strip().splitlines(), bulleted=title != "Returns")
            out += [f"{_SECTIONS[title]}:", "", *items, ""]
        elif line.strip() != "::":
            if line.startswith(_PARAGRAPHS):
                out.append("")
            out.append(line)
    return _backticks("\n".join(out).strip())


def _items(lines: list[str], *, bulleted: bool) -> list[str]:
    if not bulleted:
        return lines
    items: list[str] = []
    for line in lines:
        name, separator, text = line.partition(": ")
        if separator and not line.startswith(" "):
            names = ", ".join(f"`{part.strip()}`" for part in name.split(","))
            items.append(f"- {names}: {text}")
        else:
            items.append(f"  {line.strip()}")
    return items


def _below(node: ast.ClassDef, position: int) -> str:
    following = node.body[position + 1] if position + 1 < len(node.body) else None
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) and isinstance(following.value.value, str):
        return _backticks(" ".join(following.value.value.split()))
    return ""


def _backticks(text: str) -> str:
    return text.replace("``", "`")
