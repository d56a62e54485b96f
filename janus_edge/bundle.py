"""A bundle: the folder that an export leaves and a runtime opens.

    manifest.json               dimensions, token ids, precision, graphs, parity, SHA-256 per file
    graphs/NAME.onnx            one per entry of ``graphs.Graph``
    graphs/NAME.weights         its external data (beside the graph: ONNX Runtime refuses weights
                                that lie outside the folder of the graph)
    tokenizer.json
    text_embeddings.bin         [vocabulary, hidden], memory-mapped by the runtime

:class:`BundleWriter` writes into a folder beside the target and renames it at the end, so a killed
export leaves nothing under the target's name. :class:`Bundle` opens only what is whole: every file
is listed, lies inside the folder, has the stated size, and, when it is first used, the stated hash.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from janus_edge.errors import BundleError, InputError
from janus_edge.graphs import Graph
from janus_edge.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"

#: Writers of one process have folders of their own; those in use now are not left over.
_COUNT = itertools.count()
_OPEN: set[Path] = set()

#: Called with the number of bytes done since the last call.
Progress = Callable[[int], None]


class Bundle:
    """An opened bundle: ``path`` and ``manifest``, and the files by name."""

    def __init__(self, path: Path, manifest: Manifest, *, verify: bool = True) -> None:
        self.path = path
        self.manifest = manifest
        self._verify = verify
        self._verified: set[str] = set()

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Bundle:
        """Read and check the manifest and the presence and size of every file.

        With ``verify`` (the default) a file's SHA-256 is checked when it is first asked for; turn
        it off where start-up time matters more than noticing an altered file. Raises BundleError.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BundleError(f"{folder}: no such bundle (a folder that `janus-edge export` wrote)")
        manifest_path = folder / MANIFEST
        if not manifest_path.is_file():
            raise BundleError(
                f"{folder}: has no {MANIFEST}, so it is not a complete bundle; export it again"
            )
        if not manifest_path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(
                f"{manifest_path}: a link that leaves the bundle's folder; copy the file itself"
            )
        try:
            manifest = Manifest.from_json(manifest_path.read_text("utf-8"))
        except UnicodeDecodeError as invalid:
            raise BundleError(
                f"{manifest_path}: not UTF-8 ({invalid}); export the bundle again"
            ) from invalid
        except BundleError as invalid:
            raise type(invalid)(f"{folder}/{invalid}") from invalid
        bundle = cls(folder, manifest, verify=verify)
        for name in manifest.files:
            bundle._check_present(name)
        return bundle

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
        try:
            present = path.is_file()
        except OSError:  # a name that is too long for any file system
            present = False
        if not present:
            raise BundleError(
                f"{path}: missing from the bundle; export it again or copy the whole folder"
            )
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(
                f"{path}: a link that leaves the bundle's folder; copy the file itself"
            )
        size = path.stat().st_size
        if size != expected:
            raise BundleError(
                f"{path}: {size:,} bytes instead of {expected:,} (truncated or altered); "
                "copy it again or export the bundle again"
            )

    def _check_hash(self, name: str, progress: Progress | None = None) -> None:
        self._check_present(name)
        if sha256(self.path / name, progress) != self.manifest.files[name].sha256:
            raise BundleError(
                f"{self.path / name}: its SHA-256 differs from the manifest's (the file was altered); "
                "copy it again or export the bundle again"
            )
        self._verified.add(name)


class BundleWriter:
    """Writes a bundle aside and moves it into place: all of it or nothing.

    Use as a context manager: write files below ``folder``, then call :meth:`seal`. Leaving the
    block without sealing removes what was written. With ``force`` an existing bundle is replaced,
    and kept until the new one is complete.
    """

    def __init__(self, target: str | Path, *, force: bool = False) -> None:
        self.target = Path(target).absolute()
        if self.target.exists() and not force:
            raise InputError(f"{self.target}: exists already; choose another name or pass --force")
        if force and self.target.exists() and not (self.target / MANIFEST).is_file():
            raise InputError(
                f"{self.target}: exists and is not a bundle, so --force leaves it alone"
            )
        self._force = force
        self._suffix = f"{os.getpid()}-{next(_COUNT)}"
        self.folder = self.target.with_name(f".{self.target.name}.partial-{self._suffix}")

    def __enter__(self) -> BundleWriter:
        self._tidy()
        try:
            self.folder.mkdir(parents=True)
        except OSError as failure:
            raise InputError(
                f"{self.target.parent}: cannot be written to ({failure.strerror})"
            ) from failure
        _OPEN.add(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _OPEN.discard(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def seal(self, manifest: Manifest, progress: Progress | None = None) -> Bundle:
        """Hash all files, write the manifest last, and rename the folder to its name."""
        names = sorted(str(p.relative_to(self.folder).as_posix()) for p in files_below(self.folder))
        files = {
            name: FileEntry(
                (self.folder / name).stat().st_size, sha256(self.folder / name, progress)
            )
            for name in names
        }
        sealed = replace(manifest, files=files)
        with open(self.folder / MANIFEST, "w", encoding="utf-8") as out:
            out.write(sealed.to_json())
            out.flush()
            os.fsync(out.fileno())
        self._put_in_place()
        return Bundle(self.target, sealed, verify=False)

    def _put_in_place(self) -> None:
        old = self.target.with_name(f".{self.target.name}.old-{self._suffix}")
        if self.target.exists():
            if not self._force:
                raise InputError(
                    f"{self.target}: came into being meanwhile; choose another name or pass --force"
                )
            _OPEN.add(old)
            self.target.rename(old)
        try:
            self.folder.rename(self.target)
        except OSError as failure:
            if old.exists():
                old.rename(self.target)
            raise InputError(f"{self.target}: cannot be written ({failure.strerror})") from failure
        finally:
            _OPEN.discard(old)
        shutil.rmtree(old, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove what a killed export to the same target left behind, or put it back.

        A process that dies between its two renames leaves the old bundle under another name only.
        """
        name = glob.escape(f".{self.target.name}.")
        for left in self.target.parent.glob(f"{name}*-*-*"):
            kind, _, owner = left.name.removeprefix(f".{self.target.name}.").partition("-")
            if kind not in ("partial", "old") or left in _OPEN or _alive(owner.partition("-")[0]):
                continue
            if kind == "old" and not self.target.exists():
                left.rename(self.target)
            else:
                shutil.rmtree(left, ignore_errors=True)


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


def _alive(pid: str) -> bool:
    """Whether a process ``pid`` other than this one runs: in a container the number comes back."""
    if not pid.isdecimal() or int(pid) == os.getpid():
        return not pid.isdecimal()
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
