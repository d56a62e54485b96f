"""Which version of the code builds a target's engines: a digest over the modules that do it.

A number that authors must remember to raise is forgotten just when it matters, and an engine of
older code is then measured as if it were of the newer. A digest over the sources forgets nothing; a
comment that changes costs one build. It covers every module of the package that the roots import,
directly or through others, so that work on one target does not rebuild the engines of another.
"""

from __future__ import annotations

import ast
import hashlib
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import janus_edge

_PACKAGE = "janus_edge"
# CPython 3.11 counts the depth of ``ast.parse`` per interpreter, so that two threads that parse at
# once confuse each other's: "AST constructor recursion depth mismatch".
_PARSING = threading.Lock()


def sources_digest(roots: Iterable[str], packages: Path | None = None) -> str:
    """SHA-256 over the modules ``roots`` and the modules of ``janus_edge`` that they import.

    ``packages`` is the folder that holds the package ``janus_edge``; its own if not given. The
    package's own ``__init__`` is left out: it exports everything, and builders use only its version.
    """
    folder = packages or Path(janus_edge.__file__).parents[1]
    seen: dict[str, bytes] = {}
    waiting = [*roots]
    while waiting:
        module = waiting.pop()
        path = _file(folder, module)
        if module in seen or path is None:
            continue
        seen[module] = path.read_bytes()
        waiting += _imports(seen[module])
    state = hashlib.sha256()
    for module in sorted(seen):
        state.update(f"{module} {len(seen[module])}\n".encode() + seen[module])
    return state.hexdigest()


def _file(folder: Path, module: str) -> Path | None:
    """The source of a module or package; None for a name that is neither."""
    path = folder.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def _imports(source: bytes) -> tuple[str, ...]:
    """Names of this package that a source imports, at any level; some may not be modules."""
    with _PARSING:
        tree = ast.parse(source)
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        names += [parent for name in names for parent in _parents(name)]  # importing runs these too
        found |= dict.fromkeys(name for name in names if name.startswith(f"{_PACKAGE}."))
    return tuple(found)


def _parents(name: str) -> Iterator[str]:
    """The parents of a name: 'a.b' and 'a' for 'a.b.c'."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
