"""What a pass costs is measured once, kept, and measured again when the file is no good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from janus_edge.runtime import pass_costs as module
from janus_edge.runtime.pass_costs import measured, pass_costs
from janus_edge.runtime.window_policy import WIDTHS
from tests.unit.runtime.fakes import FakeBackend, embedding_table, fake_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Any:
    made = fake_bundle(tmp_path, embedding_table(), "float32")
    made.digest = "d" * 64
    return made


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every measurement, which gives 1 s, then 2 s, ..."""
    calls: list[int] = []

    def measure(*_: object) -> dict[int, float]:
        calls.append(len(calls))
        return dict.fromkeys(WIDTHS, float(len(calls)))

    monkeypatch.setattr(module, "measured", measure)
    return calls


def test_measured(bundle: Any) -> None:
    """Every width has its time."""
    found = measured(bundle, FakeBackend())
    assert [*found] == [*WIDTHS]
    assert all(seconds > 0 for seconds in found.values())


def test_kept(
    bundle: Any, counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once per bundle and number of threads."""
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path))
    backend = FakeBackend()
    first = pass_costs(bundle, backend, 0)
    assert pass_costs(bundle, backend, 0) == first
    assert len(counted) == 1
    assert pass_costs(bundle, backend, 1) != first
    bundle.digest = "e" * 64
    pass_costs(bundle, backend, 0)
    assert len(counted) == 3
    assert len(list((tmp_path / "passes").iterdir())) == 3


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-3])


@pytest.mark.parametrize(
    "damage",
    [cut, lambda p: p.write_text("[]"), lambda p: p.write_text('{"1": 0.5}'), Path.unlink,
     lambda p: p.write_text(p.read_text().replace("1.0", "-1"))],
)  # fmt: skip
def test_damaged(
    bundle: Any, counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
) -> None:  # fmt: skip
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path))
    pass_costs(bundle, FakeBackend(), 0)
    (path,) = (tmp_path / "passes").iterdir()
    damage(path)
    assert pass_costs(bundle, FakeBackend(), 0) == dict.fromkeys(WIDTHS, 2.0)
    assert pass_costs(bundle, FakeBackend(), 0) == dict.fromkeys(WIDTHS, 2.0)
    assert len(counted) == 2


def test_nothing_can_be_kept(
    bundle: Any, counted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that cannot be written, or no home at all, costs the measurement and no more."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "file"))
    assert pass_costs(bundle, FakeBackend(), 0)
    monkeypatch.delenv("JANUS_EDGE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert pass_costs(bundle, FakeBackend(), 0)
    assert len(counted) == 2
