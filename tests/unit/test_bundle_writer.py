"""Writing bundles: all of it or nothing, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle, files_below
from janus_edge.bundle_writer import BundleWriter
from janus_edge.errors import BundleError, InputError, JanusEdgeError

#: Writes argv[1]'s files as the bundle argv[2], stops where argv[3] says, and waits to be killed.
WRITER = """
import shutil, sys, time
from pathlib import Path
import janus_edge.bundle_writer as module
from janus_edge.bundle import Bundle
from janus_edge.bundle_writer import BundleWriter

source, target, stop = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def pause(here):
    if here == stop:
        print(here, flush=True)
        time.sleep(60)

whole = Bundle.open(source)
with BundleWriter(target, force=target.exists()) as writer:
    pause("opened")
    for number, name in enumerate(whole.manifest.files):
        (writer.folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, writer.folder / name)
        if number == 5:
            pause("half")
    pause("unsealed")
    hashed = module.sha256
    def sha256(path, progress=None):
        pause("hashing")
        return hashed(path, progress)
    module.sha256 = sha256
    rename = Path.rename
    def renaming(self, to):
        if self == writer.folder:
            pause("renaming")
        return rename(self, to)
    Path.rename = renaming
    writer.seal(whole.manifest)
    pause("sealed")
"""
MOMENTS = ["opened", "half", "unsealed", "hashing", "renaming"]


def fill(writer: BundleWriter, source: Path) -> None:
    for name in Bundle.open(source).manifest.files:
        (writer.folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, writer.folder / name)


def write(source: Path, target: Path, *, force: bool = False) -> Bundle:
    with BundleWriter(target, force=force) as writer:
        fill(writer, source)
        return writer.seal(Bundle.open(source).manifest)


def killed_at(moment: str, source: Path, target: Path) -> None:
    """Run WRITER until it is at ``moment``, then kill -9."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(source), str(target), moment],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == moment
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_sealed(tiny_bundle: Path, tmp_path: Path) -> None:
    """What is sealed opens, with every file listed, and nothing stays beside it."""
    written = write(tiny_bundle, tmp_path / "new" / "b")
    opened = Bundle.open(tmp_path / "new" / "b")
    opened.verify()
    assert opened.manifest == written.manifest == Bundle.open(tiny_bundle).manifest
    listed = {opened.path / name for name in opened.manifest.files}
    assert set(files_below(opened.path)) == {*listed, opened.path / "manifest.json"}
    assert names(tmp_path / "new") == ["b"]


def test_existing_target_is_refused(copied_bundle: Path, tmp_path: Path) -> None:
    """Nothing is overwritten without --force, be it a bundle, a file or a folder."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for target in (copied_bundle, tmp_path / "file", tmp_path / "folder"):
        with pytest.raises(InputError, match="exists already; choose another name or pass --force"):
            BundleWriter(target)
    Bundle.open(copied_bundle).verify()


def test_force_replaces_bundles_only(tmp_path: Path) -> None:
    """--force does not delete a folder that is no bundle, nor a file."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("mine")
    for target in (tmp_path / "file", tmp_path / "home"):
        with pytest.raises(InputError, match="is not a bundle, so --force leaves it alone"):
            BundleWriter(target, force=True)
    assert (tmp_path / "home" / "letter").read_text() == "mine"


def test_force_keeps_the_old_until_sealed(
    tiny_bundle: Path, copied_bundle: Path, tmp_path: Path
) -> None:
    """With --force the old bundle is whole until the new one takes its place."""
    (copied_bundle / "note").write_text("of the old one")
    with BundleWriter(copied_bundle, force=True) as writer:
        fill(writer, tiny_bundle)
        Bundle.open(copied_bundle).verify()
        assert (copied_bundle / "note").exists()
        writer.seal(Bundle.open(tiny_bundle).manifest)
    assert not (copied_bundle / "note").exists()
    Bundle.open(copied_bundle).verify()
    assert names(tmp_path) == ["bundle"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_nothing(
    tiny_bundle: Path, copied_bundle: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    """An exception inside the block leaves no new bundle, and the old one as it was."""
    for target in (tmp_path / "new", copied_bundle):
        with pytest.raises(error), BundleWriter(target, force=True) as writer:
            fill(writer, tiny_bundle)
            raise error
    assert names(tmp_path) == ["bundle"]
    Bundle.open(copied_bundle).verify()


def test_leaving_without_sealing(tiny_bundle: Path, tmp_path: Path) -> None:
    """A block that ends without ``seal`` leaves nothing."""
    with BundleWriter(tmp_path / "new") as writer:
        fill(writer, tiny_bundle)
    assert names(tmp_path) == []


def test_seal_refuses_what_does_not_fit(tiny_bundle: Path, tmp_path: Path) -> None:
    """A manifest that names a file that was not written cannot be sealed."""
    with (
        pytest.raises(ValueError, match="is used but not listed"),
        BundleWriter(tmp_path / "new") as writer,
    ):
        fill(writer, tiny_bundle)
        (writer.folder / "tokenizer.json").unlink()
        writer.seal(Bundle.open(tiny_bundle).manifest)
    assert names(tmp_path) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill(tiny_bundle: Path, tmp_path: Path, moment: str) -> None:
    """kill -9 leaves nothing under the target's name; the next export removes what it left."""
    target = tmp_path / "new"
    killed_at(moment, tiny_bundle, target)
    left = names(tmp_path)
    assert len(left) == 1
    assert left[0].startswith(".new.partial-")
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.open(target)
    write(tiny_bundle, target)
    assert names(tmp_path) == ["new"]
    Bundle.open(target).verify()


def test_kill_after_sealing(tiny_bundle: Path, tmp_path: Path) -> None:
    """A bundle that was sealed outlives its writer."""
    killed_at("sealed", tiny_bundle, tmp_path / "new")
    assert names(tmp_path) == ["new"]
    Bundle.open(tmp_path / "new").verify()


@pytest.mark.parametrize("moment", ["opened", "hashing"])
def test_kill_while_replacing(tiny_bundle: Path, copied_bundle: Path, moment: str) -> None:
    """kill -9 of a --force leaves the old bundle."""
    killed_at(moment, tiny_bundle, copied_bundle)
    Bundle.open(copied_bundle).verify()
    write(tiny_bundle, copied_bundle, force=True)
    assert names(copied_bundle.parent) == ["bundle"]


def test_kill_between_the_renames(tiny_bundle: Path, copied_bundle: Path) -> None:
    """In the instant between two renames the old bundle has another name: the next writer puts it
    back, even one that then fails."""
    (copied_bundle / "note").write_text("of the old one")
    killed_at("renaming", tiny_bundle, copied_bundle)
    assert not copied_bundle.exists()
    with BundleWriter(copied_bundle):
        pass
    assert (copied_bundle / "note").exists()
    Bundle.open(copied_bundle).verify()
    assert names(copied_bundle.parent) == ["bundle"]


def test_left_over_of_the_same_process_number(tiny_bundle: Path, tmp_path: Path) -> None:
    """In a container every process may have the same number: its left-overs are removed, too."""
    for left in (f".new.partial-{os.getpid()}-0", ".new.partial-99999999999999999999-0"):
        (tmp_path / left).mkdir()
    write(tiny_bundle, tmp_path / "new")
    assert names(tmp_path) == ["new"]


def test_others_are_left_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    """Only left-overs of the same target and of dead processes are removed."""
    alive = f".new.partial-{os.getppid()}-0"
    kept = [alive, ".new.b.partial-99999999-0", ".new.partial-x-y", ".newer.partial-99999999-0"]
    for name in kept:
        (tmp_path / name).mkdir()
    write(tiny_bundle, tmp_path / "new")
    assert names(tmp_path) == sorted([*kept, "new"])


def test_two_processes_at_once(tiny_bundle: Path, tmp_path: Path) -> None:
    """Of two writers of one target the first to seal wins; the other fails and harms nothing."""
    target = tmp_path / "new"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tiny_bundle), str(target), "half"],
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "half"
        with BundleWriter(target) as writer:
            assert len(names(tmp_path)) == 2, "the other's folder is still there"
            fill(writer, tiny_bundle)
            other.kill()
            other.wait(10)
            write(tiny_bundle, target)
            with pytest.raises(InputError, match="came into being meanwhile"):
                writer.seal(Bundle.open(tiny_bundle).manifest)
    Bundle.open(target).verify()
    assert names(tmp_path) == ["new"]


def test_two_threads_at_once(tiny_bundle: Path, tmp_path: Path) -> None:
    """Writers in one process do not disturb each other, on one target or on several."""
    barrier, failures = threading.Barrier(4), list[JanusEdgeError]()

    def run(target: str) -> None:
        with BundleWriter(tmp_path / target) as writer:
            barrier.wait(20)
            fill(writer, tiny_bundle)
            barrier.wait(20)
            try:
                writer.seal(Bundle.open(tiny_bundle).manifest)
            except InputError as refused:
                failures.append(refused)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert names(tmp_path) == ["a", "b", "c"]
    assert len(failures) == 1
    for name in "abc":
        Bundle.open(tmp_path / name).verify()


@pytest.mark.parametrize("parent", ["file", "file/deeper"])
def test_impossible_parent(tmp_path: Path, parent: str) -> None:
    """A target below a file is an InputError, not a traceback."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="cannot be written to"),
        BundleWriter(tmp_path / parent / "new"),
    ):
        pass


def test_glob_characters_in_the_name(tiny_bundle: Path, tmp_path: Path) -> None:
    """A target's name is a name, not a pattern."""
    (tmp_path / ".n[ew].partial-99999999-0").mkdir()
    (tmp_path / ".ne.partial-99999999-0").mkdir()
    write(tiny_bundle, tmp_path / "n[ew]")
    assert names(tmp_path) == [".ne.partial-99999999-0", "n[ew]"]
