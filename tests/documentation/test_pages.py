"""Every block of code in the documentation does what its page says."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation.pages import Reader, agrees, blocks_of, commands_of, real_ports, start
from tests.examples.started import ROOT, example

PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def origins() -> Iterator[dict[int, int]]:
    with example("origins", "red=0", "green=0", "blue=0") as started:
        yield real_ports(started)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_can_be_followed(page: Path, tmp_path: Path, origins: dict[int, int]) -> None:
    with Reader(tmp_path, origins) as reader:
        reader.follow(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target, anchor in _LINK.findall(text):
        pointed = (page.parent / target).resolve() if target else page
        assert pointed.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in anchors_of(pointed.read_text()), f"{name_of(page)} links to {target}#{anchor}"


@pytest.mark.parametrize("binding", ["asyncio", "trio", "gevent"])
def test_the_program_at_the_top_of_a_binding_works(binding: str, tmp_path: Path, origins: dict[int, int]) -> None:
    documented = importlib.import_module(f"proxycore_{binding}").__doc__
    assert documented is not None
    program = "".join(line[4:] or "\n" for line in documented.splitlines(keepends=True) if line[:4].isspace())
    with Reader(tmp_path, origins) as reader:
        reader.follow(write(tmp_path, f"```python\n{program}```\n"))


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and page.name not in index]
    assert missing == []


# ---- the reader itself finds what is wrong


def write(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text)
    return page


def test_blocks_and_commands_are_found(tmp_path: Path) -> None:
    text = '# a\n\n```python title="a.py"\nx = 1\n```\nand\n```console\n$ a \\\n  b\nout\n$ c\n```\n'
    python, console = blocks_of(write(tmp_path, text))
    assert (python.language, python.title, python.text, python.line) == ("python", "a.py", "x = 1\n", 3)
    assert [(command.line, command.output) for command in commands_of(console.text)] == [("a   b", "out\n"), ("c", "")]


def test_a_fence_that_is_never_closed_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="fence"):
        blocks_of(write(tmp_path, "```python\nx = 1\n"))


def test_output_is_compared() -> None:
    assert agrees("one\n...\nfour\n", "one\ntwo\nthree\nfour\n")
    assert not agrees("one\n", "two\n")


def test_a_part_of_a_configuration_is_completed(tmp_path: Path) -> None:
    start('[timeouts]\nconnect = "1s"\n', "part", tmp_path)
    with pytest.raises(ValueError, match="conect"):
        start('[timeouts]\nconect = "1s"\n', "part", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert False\n```\n",
        "```pycon\n>>> 1 + 1\n3\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ proxycore serve --nonsense\nlistening\n```\n",
        "```console\n$ make nonsense\n```\n",
        "```console\n$ pip install 'proxycore[nonsense]'\n```\n",
        '```toml\n[[routes]]\nupsteam = "web"\n```\n',
        "```json\n{}\n```\n",
    ],
)
def test_a_page_that_is_wrong_is_found(text: str, tmp_path: Path) -> None:
    page = write(tmp_path, text)
    with Reader(tmp_path, {}) as reader, pytest.raises((AssertionError, ValueError, SystemExit)):
        reader.follow(page)
