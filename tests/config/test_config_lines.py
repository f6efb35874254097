"""On which line each key of a TOML text stands."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config.lines import lines_of

TEXT = '''\
# a comment = 1
a = 1
"b c".d = """
x = [ { "
""" # [x]

[table]
list = [
  1, # one, ]
  { x = 2, 'y' = "]" },
  [ "a", 'b' ],
]
text = \'\'\'
[no]\'\'\'\'
[[rows]]
n = 2020-01-01 10:00:00
[[rows]]
[rows.inner]
deep.er = { p = {}, q = [] }
[[rows.more]]
z = "\\\\" # "
[[rows.more]]
z = 1
'''


def test_lines_of_everything() -> None:
    assert lines_of(TEXT) == {
        ("a",): 2,
        ("b c",): 3,
        ("b c", "d"): 3,
        ("table",): 7,
        ("table", "list"): 8,
        ("table", "list", 0): 9,
        ("table", "list", 1): 10,
        ("table", "list", 1, "x"): 10,
        ("table", "list", 1, "y"): 10,
        ("table", "list", 2): 11,
        ("table", "list", 2, 0): 11,
        ("table", "list", 2, 1): 11,
        ("table", "text"): 13,
        ("rows",): 15,
        ("rows", 0): 15,
        ("rows", 0, "n"): 16,
        ("rows", 1): 17,
        ("rows", 1, "inner"): 18,
        ("rows", 1, "inner", "deep"): 19,
        ("rows", 1, "inner", "deep", "er"): 19,
        ("rows", 1, "inner", "deep", "er", "p"): 19,
        ("rows", 1, "inner", "deep", "er", "q"): 19,
        ("rows", 1, "more"): 20,
        ("rows", 1, "more", 0): 20,
        ("rows", 1, "more", 0, "z"): 21,
        ("rows", 1, "more", 1): 22,
        ("rows", 1, "more", 1, "z"): 23,
    }


def paths(value: object, above: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    entries = dict(enumerate(value)) if isinstance(value, list) else value if isinstance(value, dict) else {}
    found = {(*above, key) for key in entries}
    return found.union(*(paths(entry, (*above, key)) for key, entry in entries.items()))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text", [TEXT, "", "\n\n", "a=1", "[a]", "[[a]]", "[ a . 'b' ]\nc='''\n''''\nd=\"\"\"\"\"\"\"\""]
)
def test_every_key_that_tomllib_sees_has_a_line(text: str, ending: str) -> None:
    text = text.replace("\n", ending)
    assert set(lines_of(text)) == paths(tomllib.loads(text))


keys = st.sampled_from(["a", "b-1", '"q\\" ]"', "'l # ['", "c . d"])
scalars = st.sampled_from(["1", "true", "1979-05-27 07:32:00", '"x\\"]}"', "'],'", '"""\n[a]\n\\""""', "'''\n}'''"])


def array(items: list[str]) -> str:
    return "[ # [\n" + ", # x,\n".join(items) + " ]"


def inline_table(entries: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {value}" for key, value in entries.items()) + " }"


values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(array) | st.dictionaries(keys, inner, max_size=3).map(inline_table),
    max_leaves=6,
)
lines = (
    st.tuples(keys, values).map(lambda pair: f"{pair[0]} = {pair[1]}")
    | keys.map("[{}]".format)
    | keys.map("[[{}]]".format)
)


@given(st.lists(lines, max_size=8).map("\n# [c]\n".join))
def test_it_sees_the_keys_that_tomllib_sees(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines_of(text)) == paths(data)
