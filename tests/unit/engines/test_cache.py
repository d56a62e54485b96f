"""The engine cache: links, damage, interruption, and where it lies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.bundle_writer import FolderWriter
from janus_edge.engine import Engine
from janus_edge.engines.build import BuildResult, build_engine
from janus_edge.engines.cache import EngineCache, Ingredients
from tests.unit.engines.copying import Copying
from tests.unit.perturbed import edit_manifest

WEIGHTS = "graphs/text_head.weights"


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache")


@pytest.fixture
def entry(tiny_bundle: Path, tmp_path: Path, cache: EngineCache) -> Path:
    """The entry that was kept from the engine ``first``."""
    return cache.root / build(tiny_bundle, tmp_path / "first", cache).engine.manifest.key


def build(bundle: Path, out: Path, cache: EngineCache) -> BuildResult:
    return build_engine(Bundle.open(bundle), Copying(), out, cache=cache)


def alter(path: Path) -> None:
    """Change a byte in place, as no program of ours does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_manifest(entry: Path) -> None:
    (entry / "manifest.json").unlink()


def truncate(entry: Path) -> None:
    (entry / WEIGHTS).write_bytes(b"short")


def mislabel(entry: Path) -> None:
    edit_manifest(entry, lambda data: data.update(key="0" * 64))


def replace_by_a_file(entry: Path) -> None:
    (entry / WEIGHTS).unlink()
    (entry / WEIGHTS).write_bytes(b"x" * (1 << 17))


@pytest.mark.parametrize(
    "damage",
    [lambda e: alter(e / WEIGHTS), remove_manifest, truncate, mislabel, replace_by_a_file,
     lambda e: alter(e / "tokenizer.json"), lambda e: (e / WEIGHTS).unlink()],
)  # fmt: skip
def test_damage(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, entry: Path,
    caplog: pytest.LogCaptureFixture, damage: object,
) -> None:  # fmt: skip
    """A damaged entry is noticed, said so, and replaced by what is built in its place."""
    damage(entry)  # type: ignore[operator]
    assert not build(tiny_bundle, tmp_path / "second", cache).cached
    (message,) = caplog.messages
    assert message.startswith("the engine cache is damaged, so the engine is built anew (")
    assert str(entry) in message
    caplog.clear()
    Engine.open(tmp_path / "second").verify()
    assert build(tiny_bundle, tmp_path / "third", cache).cached
    assert caplog.messages == []


def test_altering_an_engine_does_not_spread(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, entry: Path
) -> None:
    """An engine's file that is changed in place is its entry's, too: both are noticed, and no
    engine is made from it."""
    alter(tmp_path / "first" / WEIGHTS)
    assert not build(tiny_bundle, tmp_path / "second", cache).cached
    Engine.open(tmp_path / "second").verify()
    with pytest.raises(Exception, match="SHA-256 differs"):
        Engine.open(tmp_path / "first").verify()


def test_links(tiny_bundle: Path, tmp_path: Path, cache: EngineCache, entry: Path) -> None:
    """Engine, entry and the engine made of it share their files, but none shares the bundle's."""
    assert build(tiny_bundle, tmp_path / "second", cache).cached
    same = [p / WEIGHTS for p in (tmp_path / "first", entry, tmp_path / "second")]
    assert len({p.stat().st_ino for p in same}) == 1
    assert (tiny_bundle / WEIGHTS).stat().st_ino != same[0].stat().st_ino


def test_copies_where_there_are_no_links(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Across file systems files are copied, which is the same but for room and time."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    key = build(tiny_bundle, tmp_path / "first", cache).engine.manifest.key
    assert build(tiny_bundle, tmp_path / "second", cache).cached
    files = [p / WEIGHTS for p in (tmp_path / "first", cache.root / key, tmp_path / "second")]
    assert len({p.stat().st_ino for p in files}) == 3
    Engine.open(tmp_path / "second").verify()


def test_interruption_while_keeping(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while an engine is being kept leaves the engine, which is complete, and no entry."""
    with monkeypatch.context() as patch:
        patch.setattr(FolderWriter, "place", interrupted(FolderWriter.place, cache.root))
        with pytest.raises(KeyboardInterrupt):
            build(tiny_bundle, tmp_path / "first", cache)
    Engine.open(tmp_path / "first").verify()
    assert list(cache.root.iterdir()) == []
    assert not build(tiny_bundle, tmp_path / "second", cache).cached
    assert build(tiny_bundle, tmp_path / "third", cache).cached


def interrupted(place: object, root: Path) -> object:
    """``FolderWriter.place`` that is interrupted below ``root``."""

    def stop(self: FolderWriter[Engine], manifest: object) -> object:
        if self.target.is_relative_to(root):
            raise KeyboardInterrupt
        return place(self, manifest)  # type: ignore[operator]

    return stop


def test_left_over_of_a_killed_builder(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, entry: Path
) -> None:
    """What a killed process left beside an entry is no entry, and the next builder removes it."""
    left = entry.with_name(f".{entry.name}.partial-99999999-0")
    entry.rename(left)
    assert not build(tiny_bundle, tmp_path / "second", cache).cached
    assert [p.name for p in cache.root.iterdir()] == [entry.name]


def test_a_cache_that_cannot_be_written(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine is built all the same, and the log says why it is not kept."""
    (tmp_path / "file").touch()
    cache = EngineCache(tmp_path / "file" / "cache")
    assert not build(tiny_bundle, tmp_path / "first", cache).cached
    Engine.open(tmp_path / "first").verify()
    (message,) = caplog.messages
    assert message.startswith("the engine is not cached (")
    assert str(cache.root) in message


def test_key() -> None:
    """A key is 64 hexadecimal digits and does not depend on the order of the tools."""
    one = Ingredients("b", "t", {"x": "1", "y": "2"}, None, (), "s")
    other = Ingredients("b", "t", {"y": "2", "x": "1"}, None, (), "s")
    assert one.key == other.key
    assert len(one.key) == 64
    assert int(one.key, 16)


@pytest.mark.parametrize(
    "change",
    [{"bundle": "c"}, {"target": "u"}, {"tools": {"x": "2"}}, {"compute_capability": "8.7"},
     {"sources": "r"}, {"schema_version": 0}, {"options": {"workspace": "1"}}, {"tools": {"x": "1", "y": "1"}}],
)  # fmt: skip
def test_key_of_others(change: dict[str, object]) -> None:
    ingredients = {
        "bundle": "b", "target": "t", "tools": {"x": "1"}, "compute_capability": None,
        "profiles": (), "sources": "s",
    }  # fmt: skip
    assert Ingredients(**ingredients).key != Ingredients(**{**ingredients, **change}).key  # type: ignore[arg-type]
