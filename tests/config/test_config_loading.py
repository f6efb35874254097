"""Reading from text: lines, files that include files, the environment, and junk of any kind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import Config, ConfigError, Listener, Problem, Route, Upstream, from_dict, load_toml
from proxycore.config.loading import read_toml
from proxycore.config.sections import Section, options_of

SMALL = """\
[[listeners]]
bind = "127.0.0.1:8080"
[upstreams.api]
servers = ["http://127.0.0.1:3000"]
[[routes]]
upstream = "api"
"""


def told(text: str, **arguments: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_toml(text, source="proxy.toml", **arguments)
    return str(caught.value).splitlines()


def test_a_file_and_python_give_the_same() -> None:
    assert load_toml(SMALL, source="proxy.toml") == Config(
        listeners=[Listener(bind="127.0.0.1:8080")],
        upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
        routes=[Route(upstream="api")],
    )


def test_a_dict_is_as_strict_as_a_file() -> None:
    data = {"listeners": [{"bind": "127.0.0.1:1"}], "routes": [{"respond": {}}], "timeouts": {"idle": 5}}
    with pytest.raises(ConfigError, match=r'dict: timeouts.idle: a duration is text.*did you mean "5s"'):
        from_dict(data)
    assert Config(**data).timeouts.idle == 5.0  # type: ignore[arg-type]
    data["timeouts"] = {"idle": "${IDLE}"}
    assert from_dict(data, environment={"IDLE": "5s"}).timeouts.idle == 5.0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = ", "proxy.toml:1: at the end: this isn't TOML: Invalid value"),
        ("x = 1\ny = = 2\n", "proxy.toml:2: column 5: this isn't TOML: Invalid value"),
        ("[a]\n[a]\n", "proxy.toml:2: column 3: this isn't TOML: Cannot declare ('a',) twice"),
        (
            "a = " + "1" * 5_000,
            "proxy.toml: this isn't TOML: Exceeds the limit (4300 digits) for integer string conversion",
        ),
        ("a = " + "[" * 100_000, "proxy.toml: this is nested too deep"),
    ],
)
def test_what_is_no_toml(text: str, line: str) -> None:
    (problem,) = told(text)
    assert problem.startswith(line)


def test_problems_come_in_the_order_of_the_file() -> None:
    text = SMALL.replace('upstream = "api"', "upstream = 5\nname = 6").replace('bind = "', 'bindings = "')
    assert told("workers = 0\n" + text + "\n[limits]\nbuffer = 64\n") == [
        'proxy.toml:1: workers: 0 is no whole number from 1 to 1024 or "auto"',
        'proxy.toml:3: listeners[0].bindings: unknown key; did you mean "bind"?',
        "proxy.toml:7: routes[0].upstream: 5 is no name of one of [upstreams]",
        "proxy.toml:8: routes[0].name: 6 is no name",
        'proxy.toml:11: limits.buffer: a size is text with a unit (B, KiB, MiB, GiB); did you mean "64B"?',
    ]


def test_what_is_missing_is_told_at_what_encloses_it() -> None:
    assert told("[upstreams.api]\nqueue = 1\n") == [
        "proxy.toml: listeners: this key is needed",
        "proxy.toml: routes: this key is needed",
        "proxy.toml:1: upstreams.api.servers: this key is needed",
    ]


# ---- the environment ------------------------------------------------------------------------------------------------


def test_variables_of_the_environment() -> None:
    text = 'workers = "${N}"\n' + SMALL.replace("8080", "${PORT}").replace("127.0.0.1:3000", "${HOST}:${PORT}")
    config = load_toml(text, source="f", environment={"PORT": "81", "HOST": "a.b", "N": "3"})
    assert config.listeners[0].bind == ("127.0.0.1:81",)
    assert config.upstreams["api"].servers[0].url == "http://a.b:81"
    assert config.workers == 3
    typed = "logging.empty_connections = '${YES}'\n" + SMALL + "redirect = { to = '/', status = '${CODE}' }\n"
    typed = typed.replace('upstream = "api"\n', "") + "[upstreams.api.retries]\nbudget = '${SHARE}'\n"
    config = load_toml(typed, source="f", environment={"YES": "true", "CODE": "301", "SHARE": "0.25"})
    assert (config.logging.empty_connections, config.upstreams["api"].retries.budget) == (True, 0.25)
    assert config.routes[0].redirect is not None
    assert config.routes[0].redirect.status == 301


def test_what_is_no_variable_of_the_environment() -> None:
    text = SMALL + "".join(
        f'[[routes]]\nmatch.path = "/{n}"\nrespond.body = "{body}"\n'
        for n, body in enumerate(("$${HOME}", "${1}$1", "$HOME", "${no-name}", "${NONE}"))
    )
    assert told(text) == [
        'proxy.toml:18: routes[4].respond.body: "no-name" is no name of an environment variable '
        '("$${" stands for a literal "${")',
        'proxy.toml:21: routes[5].respond.body: the environment has no variable "NONE"',
    ]
    good = text.replace("${no-name}", "").replace("${NONE}", "")
    bodies = [route.respond and route.respond.body for route in load_toml(good, source="f").routes]
    assert bodies[1:4] == ["${HOME}", "${1}$1", "$HOME"]


def test_a_missing_variable_is_one_problem() -> None:
    assert told(SMALL.replace("8080", "${PORT}")) == [
        'proxy.toml:2: listeners[0].bind: the environment has no variable "PORT"'
    ]


# ---- included files -------------------------------------------------------------------------------------------------


def includer(files: Mapping[str, list[tuple[str, str]]]) -> Any:
    def include(pattern: str) -> Iterable[tuple[str, str]]:
        if pattern == "forbidden.toml":
            raise PermissionError(13, "Permission denied")
        return files.get(pattern, [])

    return include


def test_included_files_are_joined_in_order() -> None:
    text = 'include = ["routes/*.toml", "none/*.toml"]\n' + SMALL.replace("[[routes]]", "[[routes]]\nname = 'first'")
    files = [
        ("routes/a.toml", '[[routes]]\nname = "second"\nupstream = "web"\n[upstreams.web]\nservers = ["http://w"]\n'),
        ("routes/b.toml", '[timeouts]\nidle = "1s"\n[[routes]]\nname = "third"\nupstream = "api"\n'),
    ]
    config = load_toml(text, source="proxy.toml", include=includer({"routes/*.toml": files}))
    assert [route.name for route in config.routes] == ["first", "second", "third"]
    assert list(config.upstreams) == ["api", "web"]
    assert config.timeouts.idle == 1.0


def test_problems_of_included_files_are_told_in_their_own_terms() -> None:
    files = [
        ("a.toml", '\n[[routes]]\nupstream = "app"\n[timeouts]\nidel = "1s"\n'),
        ("b.toml", '[upstreams.api]\nservers = ["http://w"]\n[timeouts]\nidel = "5s"\n[[routes]]\n'),
        ("c.toml", 'workers = 2\ntimeouts = 5\ninclude = "d.toml"\n'),
    ]
    text = 'include = "*.toml"\nworkers = 1\n' + SMALL
    assert told(text, include=includer({"*.toml": files})) == [
        'a.toml:3: routes[0].upstream: there is no "app" in [upstreams]; did you mean "api"?',
        'a.toml:5: timeouts.idel: unknown key; did you mean "idle"?',
        "b.toml:1: upstreams.api: this stands in proxy.toml already",
        "b.toml:4: timeouts.idel: this stands in a.toml already",
        "b.toml:5: routes[0]: a route has exactly one of upstream, redirect and respond; here is none",
        "c.toml:1: workers: this stands in proxy.toml already",
        "c.toml:2: timeouts: this stands in a.toml already",
        "c.toml:3: include: only the main file includes others",
    ]


def test_what_cant_be_included() -> None:
    text = 'include = ["gone.toml", "forbidden.toml", 5, "broken.toml"]\n' + SMALL
    broken = includer({"broken.toml": [("broken.toml", "a = 1\na = 2")]})
    assert told(text, include=broken) == ["broken.toml:2: at the end: this isn't TOML: Cannot overwrite a value"]
    assert told(text, include=includer({"broken.toml": [("b", "")]})) == [
        'proxy.toml:1: include[0]: there is no file "gone.toml"',
        'proxy.toml:1: include[1]: "forbidden.toml" can\'t be read: Permission denied',
        "proxy.toml:1: include[2]: 5 is no pattern of files",
    ]
    assert told('include = "a"\n' + SMALL) == ["proxy.toml:1: include: files can't be included here"]


# ---- junk -----------------------------------------------------------------------------------------------------------


def all_keys(section: type[Section]) -> list[str]:
    return [option.key for option in options_of(section)]


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["off", "auto", "5s", "64KiB", "1/s", "*", "/a/*", "http://h", "10.0.0.0/8", "a.b", "${X}", "api"]
    )
    | st.just(2**80)
    | st.dates()
)
keys = st.sampled_from(sorted({*all_keys(Config), *all_keys(Listener), *all_keys(Upstream), *all_keys(Route)}))
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(keys | st.text(max_size=3), junk, max_size=6))
def test_no_dict_is_more_than_a_config_error(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(data)
    assert len(str(caught.value).splitlines()) == len(caught.value.problems) > 0


def shaped(section: type[Section]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables with the right keys and junk in them: they come further than junk does."""
    return st.dictionaries(st.sampled_from(all_keys(section)), junk, max_size=5)


@given(
    st.fixed_dictionaries(
        {
            "listeners": st.lists(shaped(Listener), max_size=2),
            "upstreams": st.dictionaries(st.sampled_from(["a", "api", ""]), shaped(Upstream), max_size=2),
            "routes": st.lists(shaped(Route), max_size=2),
        }
    )
)
def test_no_shaped_dict_is_more_than_a_config_error(data: dict[str, Any]) -> None:
    for read in (from_dict, lambda data: Config(**data)):
        with contextlib.suppress(ConfigError):
            assert isinstance(read(data), Config)


def test_a_number_too_long_to_print_is_told_without_it() -> None:
    number = "0x" + "f" * 5_000
    text = SMALL.replace("[[routes]]", f"weight = 1\n[[routes]]\nname = {number}").replace(
        "weight = 1", f"queue = {number}"
    )
    text += (
        f"respond.status = {number}\ncompress = {number}\n[timeouts]\nidle = {number}\n[limits]\nbuffer = {number}\n"
    )
    text += f"minimum_rate = {number}\n[upstreams.api.outliers]\nstatuses = [{number}]\neject_share_max = {number}\n"
    problems = told(text)
    assert len(problems) == 9
    assert all(len(problem) < 200 for problem in problems)


@given(st.text(st.sampled_from("ab=[]{}\"'\n.#,1- "), max_size=40))
def test_no_text_is_more_than_a_config_error(text: str) -> None:
    assert all(line.startswith("proxy.toml:") for line in told(text))


def test_what_is_found_later_gets_its_file_and_line() -> None:
    main = 'include = "more.toml"\n[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nname = "x"\nrespond = {}\n'
    more = (
        '[[routes]]\nname = "y"\nmatch.path = [\n  "/a",\n  "/b",\n]\nrespond = {}\n[error_pages]\n"404" = "a.html"\n'
    )
    reading = read_toml(main, source="main.toml", include=lambda pattern: [("more.toml", more)])
    places = ["error_pages.404", "routes[1].match.path[1]", "routes[0].respond.body", "nowhere.at.all", ""]
    problems = reading.located(Problem("main.toml", None, place, "wrong") for place in places)
    assert [str(problem) for problem in problems] == [
        "main.toml: nowhere.at.all: wrong",
        "main.toml: wrong",
        "main.toml:6: routes[0].respond.body: wrong",
        "more.toml:5: routes[0].match.path[1]: wrong",
        "more.toml:9: error_pages.404: wrong",
    ]


def test_a_name_that_points_nowhere_is_told_beside_an_unknown_key() -> None:
    text = """
        zzz = 1
        [[listeners]]
        bind = "127.0.0.1:8080"
        [upstreams.web]
        servers = ["http://127.0.0.1:3000"]
        [[routes]]
        upstream = "wob"
        yyy = 1
    """
    with pytest.raises(ConfigError) as raised:
        load_toml(text, source="x.toml")
    assert {problem.place for problem in raised.value.problems} == {"zzz", "routes[0].upstream", "routes[0].yyy"}
