"""Where things are kept that can be made again, on machines of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.cache_folder import cache_folder
from janus_edge.errors import InputError


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"JANUS_EDGE_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c/engines"),
        ({"JANUS_EDGE_CACHE": "", "XDG_CACHE_HOME": "/x"}, "/x/janus-edge/engines"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/janus-edge/engines"),
        ({}, "/home/me/.cache/janus-edge/engines"),
    ],
)
def test_cache_folder(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], root: str
) -> None:
    for name in ("JANUS_EDGE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder("engines") == Path(root)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("JANUS_EDGE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(
        InputError, match="no home folder for a cache of engines; set JANUS_EDGE_CACHE"
    ):
        cache_folder("engines")
