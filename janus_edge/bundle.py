"""A bundle: the folder that an export leaves and a runtime opens.

    manifest.json               dimensions, token ids, precision, graphs, parity, SHA-256 per file
    graphs/NAME.onnx            one per entry of ``graphs.Graph``
    graphs/NAME.weights         its external data (beside the graph: ONNX Runtime refuses weights
                                that lie outside the folder of the graph)
    tokenizer.json
    text_embeddings.bin         [vocabulary, hidden], memory-mapped by the runtime

:class:`Bundle` opens only what is whole: every file is listed, lies inside the folder, has the
stated size, and, when it is first used, the stated hash. `bundle_writer.py` writes one. An engine
(`engine.py`) is such a folder, too, with graphs for one target and a manifest that says more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from janus_edge.graphs import Graph
from janus_edge.manifest import BUNDLE, Manifest

if TYPE_CHECKING:
    from typing import Self

MANIFEST = "manifest.json"

#: Called with the number of bytes done since the last call.
Progress = Callable[[int], None]


class Bundle:
    """An opened bundle: ``path`` and ``manifest``, and the files by name.

    What is said to raise BundleError raises the error of the manifest's kind.
    """

    MANIFEST_TYPE: ClassVar[type[Manifest]] = Manifest

    def __init__(self, path: Path, manifest: Manifest, *, verify: bool = True) -> None:
        self.path = path
        self.manifest = manifest
        self._verify = verify
        self._verified: set[str] = set()

    @classmethod
    def is_at(cls, path: str | Path) -> bool:
        """Whether ``path`` is a folder whose manifest is of this kind (right or wrong otherwise)."""
        return (Path(path) / MANIFEST).is_file() and kind_of(
            Path(path)
        ) == cls.MANIFEST_TYPE.KIND.name

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """Read and check the manifest and the presence and size of every file.

        With ``verify`` (the default) a file's SHA-256 is checked when it is first asked for; turn
        it off where start-up time matters more than noticing an altered file. Raises BundleError.
        """
        folder, kind = Path(path), cls.MANIFEST_TYPE.KIND
        if not folder.is_dir():
            raise kind.error(
                f"{folder}: no such {kind.name} (a folder that `janus-edge {kind.verb}` wrote)"
            )
        manifest_path = folder / MANIFEST
        if not manifest_path.is_file():
            raise kind.error(
                f"{folder}: has no {MANIFEST}, so it is not a complete {kind.name}; "
                f"{kind.verb} it again"
            )
        if not manifest_path.resolve().is_relative_to(folder.resolve()):
            raise kind.error(
                f"{manifest_path}: a link that leaves the {kind.name}'s folder; copy the file itself"
            )
        try:
            manifest = cls.MANIFEST_TYPE.from_json(manifest_path.read_text("utf-8"))
        except UnicodeDecodeError as invalid:
            raise kind.error(
                f"{manifest_path}: not UTF-8 ({invalid}); {kind.verb} the {kind.name} again"
            ) from invalid
        except kind.error as invalid:
            raise type(invalid)(f"{folder}/{invalid}") from invalid
        except OSError as failure:
            raise kind.error(f"{manifest_path}: cannot be read ({failure.strerror})") from failure
        opened = cls(folder, manifest, verify=verify)
        for name in manifest.files:
            opened._check_present(name)
        opened._check_unlisted()
        return opened

    def file(self, name: str) -> Path:
        """Path of a listed file, its hash checked once; raises BundleError if it was altered."""
        if self._verify and name not in self._verified:
            self._check_hash(name)
        return self.path / name

    def graph(self, graph: Graph) -> Path:
        """Path of a graph's ONNX file; its weights are checked with it."""
        entry = self.manifest.graphs[graph.value]
        for weights in entry.weights:
            self.file(weights)
        return self.file(entry.file)

    def graph_bytes(self, graph: Graph) -> int:
        """Size of a graph and its weights on disk."""
        entry = self.manifest.graphs[graph.value]
        return sum(self.manifest.files[f].size for f in (entry.file, *entry.weights))

    @property
    def total_bytes(self) -> int:
        """Size of all listed files."""
        return sum(entry.size for entry in self.manifest.files.values())

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds the hash of everything else."""
        return hashlib.sha256((self.path / MANIFEST).read_bytes()).hexdigest()

    def verify(self, progress: Progress | None = None) -> None:
        """Hash every file again; raises BundleError naming the first that differs."""
        for name in self.manifest.files:
            self._check_hash(name, progress)

    def _check_present(self, name: str) -> None:
        path, expected = self.path / name, self.manifest.files[name].size
        kind = self.manifest.KIND
        try:
            present = path.is_file()
        except OSError:  # a name that is too long for any file system
            present = False
        if not present:
            raise kind.error(
                f"{path}: missing from the {kind.name}; {kind.verb} it again or copy the whole folder"
            )
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise kind.error(
                f"{path}: a link that leaves the {kind.name}'s folder; copy the file itself"
            )
        size = path.stat().st_size
        if size != expected:
            raise kind.error(
                f"{path}: {size:,} bytes instead of {expected:,} (truncated or altered); "
                f"copy it again or {kind.verb} the {kind.name} again"
            )

    def _check_hash(self, name: str, progress: Progress | None = None) -> None:
        self._check_present(name)
        kind = self.manifest.KIND
        try:
            found = sha256(self.path / name, progress)
        except OSError as failure:
            raise kind.error(
                f"{self.path / name}: cannot be read ({failure.strerror}); check its permissions"
            ) from failure
        if found != self.manifest.files[name].sha256:
            raise kind.error(
                f"{self.path / name}: its SHA-256 differs from the manifest's (the file was altered); "
                f"copy it again or {kind.verb} the {kind.name} again"
            )
        self._verified.add(name)

    def _check_unlisted(self) -> None:
        """A graph may name any file beside it as its weights: there are none but the listed."""
        kind = self.manifest.KIND
        for folder in {(self.path / g.file).parent for g in self.manifest.graphs.values()}:
            for path in files_below(folder):
                if path.relative_to(self.path).as_posix() not in self.manifest.files:
                    raise kind.error(
                        f"{path}: not listed in {MANIFEST}, so it was not {kind.participle}; "
                        "remove it"
                    )


def kind_of(folder: Path) -> str:
    """The kind that a folder's manifest states; a bundle's states none, and may be damaged."""
    try:
        data = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return BUNDLE.name
    return str(data.get("kind", BUNDLE.name)) if isinstance(data, dict) else BUNDLE.name


def files_below(folder: Path) -> Iterable[Path]:
    """All regular files in ``folder`` and its sub-folders."""
    return (p for p in folder.rglob("*") if p.is_file())


def sha256(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, read in pieces of 4 MiB."""
    state = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(4 << 20):
            state.update(piece)
            if progress:
                progress(len(piece))
    return state.hexdigest()
