"""Building engines: what they hold, all of it or nothing, and when the cache stands in."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.engine_manifest import Profile, Range
from janus_edge.engines import build as build_module
from janus_edge.engines.build import BuildResult, build_engine
from janus_edge.engines.cache import EngineCache
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from tests.unit.engines.copying import Copying
from tests.unit.perturbed import edit_manifest

PROFILE = Profile(Range(1, 2, 8), Range(1, 1, 1), Range(64, 640, 1024))


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def build(bundle: Path, out: Path, cache: EngineCache | None, **target: object) -> BuildResult:
    return build_engine(Bundle.open(bundle), Copying(**target), out, cache=cache)  # type: ignore[arg-type]


def test_what_an_engine_holds(tiny_bundle: Path, tmp_path: Path) -> None:
    """Everything that running needs, listed and hashed, and what it was built from, with and for."""
    bundle, target = (
        Bundle.open(tiny_bundle),
        Copying(compute_capability="8.7", profiles=(PROFILE,)),
    )
    result = build_engine(bundle, target, tmp_path / "e")
    assert not result.cached
    assert target.built == list(Graph)
    opened = Engine.open(tmp_path / "e")
    opened.verify()
    manifest = opened.manifest
    assert manifest == result.engine.manifest
    assert manifest.files == bundle.manifest.files
    assert manifest.bundle.digest == bundle.digest
    assert manifest.bundle.path == str(tiny_bundle)
    assert (manifest.target, manifest.tools) == ("copying", {"copier": "1.2.3"})
    assert (manifest.compute_capability, manifest.profiles) == ("8.7", (PROFILE,))
    assert manifest.build_seconds > 0
    assert manifest.builds["text_head"].workspace_bytes == 7
    for same in ("config", "special_tokens", "recipe", "source", "derivation", "graphs"):
        assert getattr(manifest, same) == getattr(bundle.manifest, same)
    assert manifest.parity == {}, "the bundle's figures are of other graphs"


def test_existing_folders(tiny_bundle: Path, copied_bundle: Path, tmp_path: Path) -> None:
    """An engine is replaced with force only, and a bundle not even then."""
    build(tiny_bundle, tmp_path / "e", None)
    bundle, target = Bundle.open(tiny_bundle), Copying()
    with pytest.raises(InputError, match="exists already; choose another name or pass --force"):
        build_engine(bundle, target, tmp_path / "e")
    with pytest.raises(InputError, match="is not an engine, so --force leaves it alone"):
        build_engine(bundle, target, copied_bundle, force=True)
    assert target.built == [], "refused before any work"
    Bundle.open(copied_bundle).verify()
    (tmp_path / "e" / "note").write_text("of the old one")
    build_engine(bundle, target, tmp_path / "e", force=True)
    assert not (tmp_path / "e" / "note").exists()


@pytest.mark.parametrize("failure", [RuntimeError(), KeyboardInterrupt(), SystemExit()])
def test_a_failure_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, failure: BaseException
) -> None:
    """Neither an engine nor an entry of the cache; with force the old engine stays."""
    with pytest.raises(type(failure)):
        build(tiny_bundle, tmp_path / "e", cache, failure=failure)
    assert names(tmp_path) == []
    build(tiny_bundle, tmp_path / "e", None)
    with pytest.raises(type(failure)):
        build_engine(Bundle.open(tiny_bundle), Copying(failure=failure), tmp_path / "e", force=True)
    Engine.open(tmp_path / "e").verify()
    assert names(tmp_path) == ["e"]


def test_the_second_build_is_taken_from_the_cache(
    tiny_bundle: Path, copied_bundle: Path, tmp_path: Path, cache: EngineCache
) -> None:
    """Nothing is built, whatever the engine's name and wherever the bundle lies; the engine is the
    same, but that it names its bundle's present place."""
    first = build(tiny_bundle, tmp_path / "e", cache)
    target = Copying(failure=AssertionError("nothing is built"))
    second = build_engine(Bundle.open(copied_bundle), target, tmp_path / "other", cache=cache)
    assert (first.cached, second.cached) == (False, True)
    assert target.built == []
    opened = Engine.open(tmp_path / "other")
    opened.verify()
    here = replace(first.engine.manifest.bundle, path=str(copied_bundle))
    assert opened.manifest == replace(first.engine.manifest, bundle=here)


def test_an_engine_outlives_others(tiny_bundle: Path, tmp_path: Path, cache: EngineCache) -> None:
    """Engines and their entry in the cache can be removed in any order."""
    build(tiny_bundle, tmp_path / "a", cache)
    build(tiny_bundle, tmp_path / "b", cache)
    shutil.rmtree(tmp_path / "a")
    assert build(tiny_bundle, tmp_path / "c", cache).cached
    shutil.rmtree(cache.root)
    for name in "bc":
        Engine.open(tmp_path / name).verify()
    assert not build(tiny_bundle, tmp_path / "d", cache).cached


def test_without_cache(tiny_bundle: Path, tmp_path: Path, cache: EngineCache) -> None:
    """Nothing is kept, and what is kept is not looked at."""
    build(tiny_bundle, tmp_path / "a", None)
    assert not cache.root.exists()
    build(tiny_bundle, tmp_path / "b", cache)
    assert not build(tiny_bundle, tmp_path / "c", None).cached


@pytest.mark.parametrize(
    "other",
    [
        {"name": "others"},
        {"compute_capability": "8.7"},
        {"profiles": (PROFILE,)},
        {"versions": {"copier": "1.2.4"}},
        {"versions": {"copier": "1.2.3", "driver": "580"}},
    ],
)
def test_what_matters_of_the_target(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, other: dict[str, object]
) -> None:
    """Another target, device, shape or version is another engine; both are kept."""
    build(tiny_bundle, tmp_path / "a", cache)
    assert not build(tiny_bundle, tmp_path / "b", cache, **other).cached
    assert build(tiny_bundle, tmp_path / "c", cache, **other).cached
    assert build(tiny_bundle, tmp_path / "d", cache).cached


def test_another_profile(tiny_bundle: Path, tmp_path: Path, cache: EngineCache) -> None:
    """Every number of a profile matters."""
    build(tiny_bundle, tmp_path / "a", cache, profiles=(PROFILE,))
    larger = replace(PROFILE, capacity=Range(64, 640, 2048))
    assert not build(tiny_bundle, tmp_path / "b", cache, profiles=(larger,)).cached


def test_another_bundle(
    tiny_bundle: Path, copied_bundle: Path, tmp_path: Path, cache: EngineCache
) -> None:
    """A bundle with another digest is built."""
    build(tiny_bundle, tmp_path / "a", cache)
    edit_manifest(copied_bundle, lambda data: data["source"].update(digest="other"))
    assert not build(copied_bundle, tmp_path / "b", cache).cached


def test_other_code(
    tiny_bundle: Path, tmp_path: Path, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of the target's module, and what builds with it, matter (`test_sources.py`)."""
    asked: list[list[str]] = []
    build(tiny_bundle, tmp_path / "a", cache)
    monkeypatch.setattr(
        build_module, "sources_digest", lambda roots: (asked.append(roots), "other")[1]
    )
    assert not build(tiny_bundle, tmp_path / "b", cache).cached
    assert asked == [["janus_edge.engines.build", Copying.__module__]]


def test_builders_at_once(tiny_bundle: Path, tmp_path: Path, cache: EngineCache) -> None:
    """Builders of the same engine all get theirs, and the cache one that is whole."""
    barrier, found = threading.Barrier(4), list[BuildResult]()

    class Together(Copying):
        def build(self, *given: object) -> object:  # type: ignore[override]
            if not self.built:
                barrier.wait(20)  # nobody finds another's
            return super().build(*given)  # type: ignore[arg-type]

    def run(name: str) -> None:
        found.append(
            build_engine(Bundle.open(tiny_bundle), Together(), tmp_path / name, cache=cache)
        )

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [result.cached for result in found] == [False] * 4
    for name in "abcd":
        Engine.open(tmp_path / name).verify()
    assert names(cache.root) == [found[0].engine.manifest.key]
    assert cache.find(found[0].engine.manifest.key)


@pytest.mark.parametrize("moment", ["find", "copy"])
def test_an_entry_that_vanishes(
    tiny_bundle: Path,
    tmp_path: Path,
    cache: EngineCache,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """An entry that another process removes while it is read is one that was not there."""
    build(tiny_bundle, tmp_path / "a", cache)
    asked: Callable[..., object] = getattr(cache, moment)

    def vanish(*given: object) -> object:
        shutil.rmtree(cache.root)
        return asked(*given)

    monkeypatch.setattr(cache, moment, vanish)
    assert not build(tiny_bundle, tmp_path / "b", cache).cached
    Engine.open(tmp_path / "b").verify()
