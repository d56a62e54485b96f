"""The engine cache: engines by what they were built from, with what, and for what.

    ROOT/KEY/           an engine, as `build.py` wrote it elsewhere
    ROOT/*.timing       TensorRT's timing caches (`tensorrt/timing_cache.py`)

An entry's files are hard links to those of the engine that it was kept from, or copies where the
file system has no such links: a link takes no time and no room. It is safe, since nothing of
janus-edge writes into a file that has its name (folders are written aside and renamed), and what
something else changes in place is noticed under either name: here every hash is checked before an
entry is used, and the runtime checks an engine's files before their first use.

Entries are put in place by one rename. Of two builders at once the first keeps its engine here and
the other's is not needed; an entry that is removed while it is read is one that is not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from janus_edge.bundle import Progress
from janus_edge.bundle_writer import FolderWriter
from janus_edge.engine import Engine
from janus_edge.engine_manifest import ENGINE_SCHEMA_VERSION, BuiltFrom, Profile
from janus_edge.errors import EngineError, InputError
from janus_edge.schema import to_dict

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ingredients:
    """All that an engine depends on: two builds from the same ones can stand for each other.

    ``bundle`` is the bundle's digest, ``tools`` the versions of what builds it, ``sources`` the
    digest of the code that does (`sources.py`), ``options`` what the manifest calls so.
    """

    bundle: str
    target: str
    tools: Mapping[str, str]
    compute_capability: str | None
    profiles: tuple[Profile, ...]
    sources: str
    options: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = ENGINE_SCHEMA_VERSION

    @property
    def key(self) -> str:
        """SHA-256 over all of them, in hexadecimal."""
        text = json.dumps(to_dict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class EngineCache:
    """Engines by key below ``root``, which comes into being when the first one is kept."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def find(self, key: str, progress: Progress | None = None) -> Engine | None:
        """The engine of ``key``, every hash checked; None if there is none.

        One that is damaged is removed, and said so in the log.
        """
        folder = self.root / key
        if not folder.exists():
            return None
        try:
            engine = Engine.open(folder)
            engine.verify(progress)
            if engine.manifest.key == key:
                return engine
            reason = f"{folder}: holds the engine of another key"
        except EngineError as damage:
            reason = str(damage)
        _LOG.warning("the engine cache is damaged, so the engine is built anew (%s)", reason)
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def copy(
        self, engine: Engine, writer: FolderWriter[Engine], bundle: BuiltFrom
    ) -> Engine | None:
        """Put ``engine``, which was found here, in place of the writer's target.

        ``bundle`` is what it would be built from now: the same, perhaps in another place. None, and
        nothing written, if the entry was removed meanwhile.
        """
        try:
            _link_files(engine, writer.folder)
        except FileNotFoundError:
            writer.clear()
            return None
        return writer.place(replace(engine.manifest, bundle=bundle))

    def keep(self, engine: Engine) -> None:
        """Keep an engine that was just built; one that cannot be kept is said so in the log."""
        folder = self.root / engine.manifest.key
        try:
            with FolderWriter(Engine, folder) as writer:
                _link_files(engine, writer.folder)
                writer.place(engine.manifest)
        except (InputError, OSError) as failure:
            if not folder.exists():  # else another builder was faster
                _LOG.warning("the engine is not cached (%s)", failure)


def _link_files(engine: Engine, folder: Path) -> None:
    for name in engine.manifest.files:
        source, target = engine.path / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system, one without hard links, or another user's file
            shutil.copyfile(source, target)
