"""Opening bundles: what is whole opens, and every damage or trick is one clear error."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from janus_edge import Janus
from janus_edge.bundle import Bundle
from janus_edge.errors import BackendError, BundleError
from janus_edge.graphs import Graph
from tests.unit.perturbed import edit_manifest, seal


def use(folder: Path) -> None:
    """Open a bundle and use all of it, as the runtime does."""
    with Janus.load(folder) as janus:
        for graph in Graph:
            janus.backend.session(graph)
        janus.text_embeddings([1])


def assert_refused(folder: Path, message: str, by: type[Exception] = BundleError) -> None:
    with pytest.raises(by, match=message) as caught:
        use(folder)
    assert str(folder) in str(caught.value), "the message says where"
    assert "\n" not in str(caught.value)


FILES = [
    "graphs/language_model.weights", "graphs/vq_encoder.onnx", "text_embeddings.bin",
    "tokenizer.json",
]  # fmt: skip


def test_whole(copied_bundle: Path, tiny_bundle: Path) -> None:
    """A copy of a bundle is the same bundle, wherever it lies and by whatever path it is named."""
    use(copied_bundle)
    opened = Bundle.open(str(copied_bundle))
    opened.verify()
    assert opened.digest == Bundle.open(tiny_bundle).digest
    assert (
        opened.total_bytes
        == sum(
            p.stat().st_size
            for p in copied_bundle.rglob("*")
            if p.is_file() and p.suffix != ".json"
        )
        + (copied_bundle / "tokenizer.json").stat().st_size
    )
    alias = copied_bundle.with_name("alias")
    alias.symlink_to(copied_bundle)
    use(alias)


@pytest.mark.parametrize("name", FILES)
def test_missing_file(copied_bundle: Path, name: str) -> None:
    (copied_bundle / name).unlink()
    for check in (Bundle.open, lambda path: Bundle.open(path, verify=False)):
        with pytest.raises(BundleError, match=f"{name}: missing from the bundle"):
            check(copied_bundle)


@pytest.mark.parametrize("name", FILES)
def test_folder_in_place_of_a_file(copied_bundle: Path, name: str) -> None:
    (copied_bundle / name).unlink()
    (copied_bundle / name).mkdir()
    assert_refused(copied_bundle, f"{name}: missing from the bundle")


@pytest.mark.parametrize("keep", [0, 1, -1])
@pytest.mark.parametrize("name", FILES)
def test_truncated_file(copied_bundle: Path, name: str, keep: int) -> None:
    """A file of another size is noticed when the bundle is opened, without reading it."""
    content = (copied_bundle / name).read_bytes()
    (copied_bundle / name).write_bytes(content[:keep])
    with pytest.raises(BundleError, match=rf"{name}: [\d,]+ bytes instead of {len(content):,} "):
        Bundle.open(copied_bundle, verify=False)


@pytest.mark.parametrize("place", [0, 0.5, 1])
@pytest.mark.parametrize("name", FILES)
def test_flipped_byte(copied_bundle: Path, name: str, place: float) -> None:
    """One altered byte is noticed when the file is used, and by ``verify``."""
    content = bytearray((copied_bundle / name).read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    (copied_bundle / name).write_bytes(content)
    assert_refused(copied_bundle, f"{name}: its SHA-256 differs")
    with pytest.raises(BundleError, match=f"{name}: its SHA-256 differs"):
        Bundle.open(copied_bundle).verify()


def test_altered_after_opening(copied_bundle: Path) -> None:
    """A file that is altered between opening the bundle and using it is noticed."""
    opened = Bundle.open(copied_bundle)
    (copied_bundle / "graphs" / "text_head.weights").write_bytes(b"short")
    with pytest.raises(BundleError, match="5 bytes instead of"):
        opened.graph(Graph.TEXT_HEAD)
    opened.graph(Graph.IMAGE_HEAD)


def test_every_file_is_hashed_by_verify(copied_bundle: Path) -> None:
    """``verify`` reads every byte that is listed and reports how many."""
    done: list[int] = []
    opened = Bundle.open(copied_bundle)
    opened.verify(done.append)
    assert sum(done) == opened.total_bytes


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_file_link_that_leaves(copied_bundle: Path, tmp_path: Path, name: str) -> None:
    """A link to a file outside is refused, even to the very same bytes."""
    outside = tmp_path / "outside"
    (copied_bundle / name).rename(outside)
    (copied_bundle / name).symlink_to(outside)
    assert_refused(copied_bundle, f"{name}: a link that leaves the bundle's folder")


def test_folder_link_that_leaves(copied_bundle: Path, tmp_path: Path) -> None:
    """A link to a folder outside is refused, too."""
    (copied_bundle / "graphs").rename(tmp_path / "outside")
    (copied_bundle / "graphs").symlink_to("../outside")
    assert_refused(copied_bundle, "a link that leaves the bundle's folder")


def test_link_within(copied_bundle: Path) -> None:
    """A link that stays in the folder harms nobody."""
    (copied_bundle / "tokenizer.json").rename(copied_bundle / "other.json")
    (copied_bundle / "tokenizer.json").symlink_to("other.json")
    use(copied_bundle)


def test_link_to_itself(copied_bundle: Path) -> None:
    (copied_bundle / "tokenizer.json").unlink()
    (copied_bundle / "tokenizer.json").symlink_to("tokenizer.json")
    assert_refused(copied_bundle, "tokenizer.json: missing from the bundle")


@pytest.mark.parametrize("path", ["/etc/hostname", "../outside", "..\\outside", "C:\\outside"])
def test_path_that_leaves(copied_bundle: Path, path: str) -> None:
    """A listed path outside the folder is refused before the file is looked at."""
    edit_manifest(
        copied_bundle, lambda data: data["files"].update({path: {"size": 1, "sha256": ""}})
    )
    assert_refused(copied_bundle, "not a relative path|leaves the bundle's folder")


@pytest.mark.parametrize("path", ["n" * 5000, "\ud800", "a\nb", "\x1b[2J"])
def test_impossible_names(copied_bundle: Path, path: str) -> None:
    """Names that no file can have are files that are missing."""
    edit_manifest(
        copied_bundle, lambda data: data["files"].update({path: {"size": 1, "sha256": ""}})
    )
    with pytest.raises(BundleError, match="missing from the bundle"):
        Bundle.open(copied_bundle)


def test_manifest_not_utf8(copied_bundle: Path) -> None:
    (copied_bundle / "manifest.json").write_bytes("ü".encode("latin-1"))
    assert_refused(copied_bundle, "manifest.json: not UTF-8")


def test_manifest_not_json(copied_bundle: Path) -> None:
    path = copied_bundle / "manifest.json"
    path.write_bytes(path.read_bytes()[:-10])
    assert_refused(copied_bundle, "manifest.json: not JSON")


def test_no_manifest(copied_bundle: Path) -> None:
    """A folder without a manifest is what a killed copy leaves: no bundle."""
    (copied_bundle / "manifest.json").unlink()
    assert_refused(copied_bundle, r"has no manifest\.json, so it is not a complete bundle")


def test_not_a_bundle(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Nothing, a file, an empty folder and a checkpoint are no bundles, and the error says so."""
    (tmp_path / "file").write_text("{}")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nothing", tmp_path / "file"):
        assert_refused(folder, r"no such bundle \(a folder that `janus-edge export` wrote\)")
    for folder in (tmp_path / "empty", tiny_checkpoint):
        assert_refused(folder, r"has no manifest\.json")


def test_foreign_tokenizer(copied_bundle: Path) -> None:
    """A tokenizer with other ids than the manifest's is refused even if its hash fits."""
    path = copied_bundle / "tokenizer.json"
    text = path.read_text("utf-8")
    path.write_text(text.replace("<begin_of_image>", "<begin_of_vision>"), "utf-8")
    seal(copied_bundle, "tokenizer.json")
    assert_refused(copied_bundle, "has no token <begin_of_image>")
    path.write_text("[]", "utf-8")
    seal(copied_bundle, "tokenizer.json")
    assert_refused(copied_bundle, "not a tokenizer")


def test_table_of_another_size(copied_bundle: Path) -> None:
    """An embedding table whose size does not fit its shape is refused even if its hash fits."""
    path = copied_bundle / "text_embeddings.bin"
    path.write_bytes(path.read_bytes()[:-4])
    seal(copied_bundle, "text_embeddings.bin")
    assert_refused(copied_bundle, r"its size does not fit \(512, 64\) float32")


def test_graph_that_is_none(copied_bundle: Path) -> None:
    """What ONNX Runtime cannot parse is a BackendError that names the graph."""
    (copied_bundle / "graphs" / "text_head.onnx").write_bytes(b"not a graph")
    seal(copied_bundle, "graphs/text_head.onnx")
    assert_refused(copied_bundle, r"text_head\.onnx: ONNX Runtime .* cannot open", BackendError)


# External data. Whoever can alter a graph can make its hash fit; the runtime must still not follow
# it out of the bundle.


def point_elsewhere(folder: Path, location: str) -> None:
    """Make text_head.onnx read its weights from ``location``, with a manifest that agrees."""
    import onnx

    path = folder / "graphs" / "text_head.onnx"
    model = onnx.load(str(path), load_external_data=False)
    places = [e for t in model.graph.initializer for e in t.external_data if e.key == "location"]
    assert places
    for place in places:
        place.value = location
    path.write_bytes(model.SerializeToString())
    seal(folder, "graphs/text_head.onnx")


@contextmanager
def watched(path: Path) -> Iterator[Callable[[], bool]]:
    """Whether the file was opened since (Linux' inotify, which sees C++ as well as Python)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        pytest.skip("needs inotify to see whether a file is opened")
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    opened_or_mapped = 0x20 | 0x01
    assert libc.inotify_add_watch(descriptor, os.fsencode(path), opened_or_mapped) >= 0

    def opened() -> bool:
        try:
            return bool(os.read(descriptor, 4096))
        except BlockingIOError:
            return False

    try:
        yield opened
    finally:
        os.close(descriptor)


@pytest.fixture
def foreign(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A file outside the bundle with what the graph would need."""
    (tmp_path / "foreign").mkdir()
    source = tiny_bundle / "graphs" / "text_head.weights"
    return Path(shutil.copy(source, tmp_path / "foreign" / "text_head.weights"))


def test_external_data_in_place(copied_bundle: Path) -> None:
    """The rewriting itself is harmless: with the true location the bundle still works."""
    point_elsewhere(copied_bundle, "text_head.weights")
    use(copied_bundle)


def test_the_watch_sees_a_file_being_opened(foreign: Path) -> None:
    """The tests below could fail: an opened file is noticed."""
    with watched(foreign) as opened:
        assert not opened()
        foreign.read_bytes()
        assert opened()
    with watched(foreign) as opened:
        foreign.stat()
        assert not opened()


@pytest.mark.parametrize("way", ["absolute", "dots", "dots within", "file link", "folder link"])
def test_external_data_elsewhere(copied_bundle: Path, foreign: Path, way: str) -> None:
    """A graph that asks for a file outside is refused, and the file is never opened."""
    graphs = copied_bundle / "graphs"
    locations = {
        "absolute": str(foreign),
        "dots": "../../foreign/text_head.weights",
        "dots within": "stray/../../../foreign/text_head.weights",
        "file link": "stray.weights",
        "folder link": "stray/text_head.weights",
    }
    if way == "file link":
        (graphs / "stray.weights").symlink_to(foreign)
    elif way == "folder link":
        (graphs / "stray").symlink_to(foreign.parent)
    elif way == "dots within":
        (graphs / "stray").mkdir()
    point_elsewhere(copied_bundle, locations[way])
    with watched(foreign) as opened:
        assert_refused(
            copied_bundle, r"graphs/(text_head\.onnx|stray)", (BackendError, BundleError)
        )  # type: ignore[arg-type]
        assert not opened()


@pytest.mark.parametrize("name", ["graphs/stray.weights", "graphs/.hidden", "graphs/sub/x.onnx"])
def test_unlisted_files_beside_the_graphs(copied_bundle: Path, name: str) -> None:
    """What a graph could name as its weights is listed and hashed, or the bundle is refused."""
    Bundle.open(copied_bundle)
    (copied_bundle / name).parent.mkdir(exist_ok=True)
    (copied_bundle / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="not listed in manifest.json"):
        Bundle.open(copied_bundle)


def test_a_file_that_is_nobody_s_weights_may_stay(copied_bundle: Path) -> None:
    (copied_bundle / "NOTES.txt").write_text("mine")
    Bundle.open(copied_bundle).verify()


@pytest.mark.parametrize("location", ["../tokenizer.json", "nothing.weights", ""])
def test_external_data_that_is_none(copied_bundle: Path, location: str) -> None:
    """Another file of the bundle, or none, is no source of weights."""
    point_elsewhere(copied_bundle, location)
    assert_refused(copied_bundle, "text_head.onnx", (BackendError, BundleError))  # type: ignore[arg-type]
