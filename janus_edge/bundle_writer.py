"""Writing a bundle or an engine aside and moving it into place: all of it or nothing.

Everything goes into a folder beside the target that is renamed at the end, so a killed export
leaves nothing under the target's name, and the next export to it tidies up.
"""

from __future__ import annotations

import glob
import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from janus_edge.bundle import MANIFEST, Bundle, Progress, files_below, sha256
from janus_edge.errors import InputError
from janus_edge.manifest import FileEntry, Manifest

if TYPE_CHECKING:
    from typing import Self

#: Writers of one process have folders of their own; those in use now are not left over.
_COUNT = itertools.count()
_OPEN: set[Path] = set()

B = TypeVar("B", bound=Bundle)


class FolderWriter(Generic[B]):
    """Writes a folder of the type ``opens`` aside and moves it into place: all of it or nothing.

    Use as a context manager: write files below ``folder``, then call :meth:`seal`. Leaving the
    block without sealing removes what was written. With ``force`` an existing folder of the same
    kind is replaced, and kept until the new one is complete.
    """

    def __init__(self, opens: type[B], target: str | Path, *, force: bool = False) -> None:
        self.target = Path(target).absolute()
        if self.target.exists() and not force:
            raise InputError(f"{self.target}: exists already; choose another name or pass --force")
        if force and self.target.exists() and not opens.is_at(self.target):
            raise InputError(
                f"{self.target}: exists and is not {opens.MANIFEST_TYPE.KIND}, so --force leaves it "
                "alone"
            )
        self._opens, self._force = opens, force
        self._suffix = f"{os.getpid()}-{next(_COUNT)}"
        self.folder = self.target.with_name(f".{self.target.name}.partial-{self._suffix}")

    def __enter__(self) -> Self:
        _OPEN.add(self.folder)  # before it is there, or another thread's _tidy() may remove it
        self._tidy()
        try:
            self.folder.mkdir(parents=True)
        except OSError as failure:
            _OPEN.discard(self.folder)
            raise InputError(
                f"{self.target.parent}: cannot be written to ({failure.strerror})"
            ) from failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _OPEN.discard(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def seal(self, manifest: Manifest, progress: Progress | None = None) -> B:
        """Hash all files, write the manifest last, and rename the folder to its name."""
        names = sorted(str(p.relative_to(self.folder).as_posix()) for p in files_below(self.folder))
        files = {
            name: FileEntry(
                (self.folder / name).stat().st_size, sha256(self.folder / name, progress)
            )
            for name in names
        }
        return self.place(replace(manifest, files=files))

    def place(self, manifest: Manifest) -> B:
        """As :meth:`seal`, for files whose hashes ``manifest`` holds already."""
        with open(self.folder / MANIFEST, "w", encoding="utf-8") as out:
            out.write(manifest.to_json())
            out.flush()
            os.fsync(out.fileno())
        self._put_in_place()
        return self._opens(self.target, manifest, verify=False)

    def clear(self) -> None:
        """Remove what was written so far, to begin again."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

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


class BundleWriter(FolderWriter[Bundle]):
    """The writer of a bundle."""

    def __init__(self, target: str | Path, *, force: bool = False) -> None:
        super().__init__(Bundle, target, force=force)


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
