"""Which codec runs, with and without the extra `speed`."""

from __future__ import annotations

import sys

import pytest

from proxycore.mechanisms.http1.codec import CodecMissing, choose


@pytest.fixture
def _without_httptools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, "proxycore.mechanisms.http1.codec_httptools", raising=False)


@pytest.mark.usefixtures("_without_httptools")
def test_without_the_extra_auto_is_h11() -> None:
    assert choose("auto").name == "h11"
    assert choose("h11").name == "h11"


@pytest.mark.usefixtures("_without_httptools")
def test_without_the_extra_httptools_is_missed_by_name() -> None:
    with pytest.raises(CodecMissing, match=r"proxycore\[speed\]"):
        choose("httptools")


def test_with_the_extra_auto_is_httptools() -> None:
    pytest.importorskip("httptools")
    assert choose("auto").name == "httptools"
    assert choose("httptools").name == "httptools"
    assert choose("h11").name == "h11"


def test_each_core_has_its_own() -> None:
    assert choose("auto") is not choose("auto")
    assert choose("h11").request_fields is not choose("h11").request_fields
