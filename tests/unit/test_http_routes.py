"""Route templates: what matches, what doesn't, who wins, and what is refused."""

import pytest

from perdure.host.triggers.errors import RouteTemplateError
from perdure.host.triggers.routes import compile_route


@pytest.mark.parametrize(
    ("template", "path", "parameters"),
    [
        ("api/hello", "api/hello", {}),
        ("api/hello", "API/Hello", {}),
        ("", "", {}),
        ("api/{name}", "api/Tokyo", {"name": "Tokyo"}),
        ("api/{name}/end", "api/a b/end", {"name": "a b"}),
        ("api/{id:int}", "api/42", {"id": "42"}),
        ("api/{id:int}", "api/-42", {"id": "-42"}),
        ("api/{id:int:min(5)}", "api/5", {"id": "5"}),
        ("api/{id?}", "api", {}),
        ("api/{id?}", "api/7", {"id": "7"}),
        ("api/{id:int?}", "api", {}),
        ("api/{page=1}", "api", {"page": "1"}),
        ("api/{page=1}", "api/3", {"page": "3"}),
        ("api/{page:int=1}", "api/3", {"page": "3"}),
        ("{*rest}", "", {}),
        ("{*rest}", "a/b/c", {"rest": "a/b/c"}),
        ("files/{**rest}", "files/a/b", {"rest": "a/b"}),
        ("files/{*rest}", "files", {}),
        ("files/{name}.{kind}", "files/a.txt", {"name": "a", "kind": "txt"}),
        ("v{version:int}/x", "v2/x", {"version": "2"}),
        ("api/{id:guid}", "api/0f8fad5b-d9cb-469f-a165-70867728950e", {"id": "0f8fad5b-d9cb-469f-a165-70867728950e"}),
        ("api/{w:alpha}", "api/abc", {"w": "abc"}),
        ("api/{w:length(2,3)}", "api/abc", {"w": "abc"}),
        ("api/{w:range(1,9)}", "api/9", {"w": "9"}),
        ("api/{d:datetime}", "api/2026-01-31", {"d": "2026-01-31"}),
        ("api/{w:regex(^a=b?$)=x}", "api/a=", {"w": "a="}),
        ("api/{w:regex(^(a|b)$)}-x", "api/b-x", {"w": "b"}),
        ("api/{w:regex(^(a|b)$)}", "api/c", None),
        (r"api/{w:regex(^\d{{2}}$)}", "api/12", {"w": "12"}),
        ("api/{b:bool}", "api/TRUE", {"b": "TRUE"}),
        ("api/hello", "api/hello2", None),
        ("api/hello", "api", None),
        ("api/{name}", "api", None),
        ("api/{name}", "api/a/b", None),
        ("api/{id:int}", "api/x", None),
        ("api/{id:int}", "api/2147483648", None),
        ("api/{id:int:min(5)}", "api/4", None),
        ("api/{w:alpha}", "api/a1", None),
        ("api/{w:length(2)}", "api/abc", None),
        ("api/{w:maxlength(2)}", "api/abc", None),
        ("api/{id:int?}", "api/x", None),
        ("api/{id:int}", "api/٤", None),
    ],
)
def test_a_template_matches_these_paths_only(template: str, path: str, parameters: dict[str, str] | None) -> None:
    assert compile_route(template).match(path) == parameters


def test_the_more_specific_route_sorts_first() -> None:
    templates = ["api/{*rest}", "api/{name}", "api/{id:int}", "api/v{n}", "api/hello", "api/hello/{name}"]
    ranked = sorted(templates, key=lambda template: compile_route(template).rank)
    assert ranked == ["api/hello", "api/hello/{name}", "api/v{n}", "api/{id:int}", "api/{name}", "api/{*rest}"]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("a/{name", "braces"),
        ("a/name}", "braces"),
        ("a//b", "empty segment"),
        ("{*rest}/b", "nothing can follow"),
        ("a/{b?}/c", "nothing can follow"),
        ("a/{b}{c}", "next to each other"),
        ("a/{b}/{B}", "two parameters have the name"),
        ("a/{1b}", "is no parameter"),
        ("a/{b:nothing}", "is not a constraint"),
        ("a/{b:min(x)}", "is not a constraint"),
        ("a/{b:regex([)}", "is not a constraint"),
        ("a/x-{b?}", "segment of its own"),
        ("a/b?c", "only belongs into"),
    ],
)
def test_a_template_that_breaks_the_rules_is_refused(template: str, problem: str) -> None:
    with pytest.raises(RouteTemplateError, match=problem):
        compile_route(template)


def test_routes_that_match_the_same_paths_have_the_same_shape() -> None:
    assert compile_route("a/{x}").shape == compile_route("A/{y}").shape
    assert compile_route("a/{x:int}").shape != compile_route("a/{y}").shape
