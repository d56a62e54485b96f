"""Opening engines: as a bundle is opened, by the same checks, and only where they fit."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from janus_edge import Janus
from janus_edge.bundle import Bundle
from janus_edge.engine import Engine, open_bundle_or_engine
from janus_edge.engines.build import build_engine
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.errors import BackendError, BundleError, EngineError
from janus_edge.graphs import Graph
from tests.unit.perturbed import edit_manifest


@pytest.fixture(scope="module")
def tiny_engine(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_bundle`` built for ort-cpu; not to be changed."""
    out = tmp_path_factory.mktemp("engine") / "tiny"
    return build_engine(Bundle.open(tiny_bundle), OrtCpu(), out).engine.path


@pytest.fixture
def engine(tiny_engine: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_engine, tmp_path / "engine"))


def use(folder: Path) -> None:
    """Open an engine and use all of it, as the runtime does."""
    with Janus.load(folder) as janus:
        for graph in Graph:
            janus.backend.session(graph)
        janus.text_embeddings([1])


def test_which_is_which(
    engine: Path, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """A folder is an engine or a bundle by what its manifest says; anything else is neither."""
    assert (Engine.is_at(engine), Bundle.is_at(engine)) == (True, False)
    assert (Engine.is_at(tiny_bundle), Bundle.is_at(tiny_bundle)) == (False, True)
    for folder in (tiny_checkpoint, tmp_path / "nothing"):
        assert not Engine.is_at(folder)
        assert not Bundle.is_at(folder)
    assert type(open_bundle_or_engine(engine)) is Engine
    assert type(open_bundle_or_engine(str(tiny_bundle))) is Bundle
    with pytest.raises(BundleError, match="no such bundle"):
        open_bundle_or_engine(tmp_path / "nothing")


def test_one_in_place_of_the_other(engine: Path, tiny_bundle: Path) -> None:
    """What needs a bundle, to quantise it, say, refuses an engine, and the other way round."""
    with pytest.raises(BundleError, match="of kind 'engine', and a bundle is needed"):
        Bundle.open(engine)
    with pytest.raises(EngineError, match="of kind 'bundle', and an engine is needed"):
        Engine.open(tiny_bundle)


WITHOUT_TOOLS = """
import sys
for name in ("torch", "onnx", "onnx_ir", "onnxscript", "janus_edge.engines"):
    sys.modules[name] = None
import janus_edge
with janus_edge.Janus.load(sys.argv[1]) as janus:
    assert janus.generate("a red fox")[0].codes.shape == (16,)
"""


@pytest.mark.parametrize(
    ("target", "capability", "command"),
    [
        ("ort-cpu", None, "--target ort-cpu --force"),
        ("tensorrt", "8.7", "--target tensorrt --force"),
        (
            "tensorrt-rtx", "8.6, 8.9",
            "--target tensorrt-rtx --compute-capability 8.6 --compute-capability 8.9 --force",
        ),
    ],
)  # fmt: skip
def test_older_engines(engine: Path, target: str, capability: str | None, command: str) -> None:
    """An engine of an older schema is refused with the rebuild command, whatever else it says."""
    changes = {"schema_version": 1, "target": target, "compute_capability": capability}
    edit_manifest(engine, lambda data: (data.update(changes, profiles=[]), data.pop("plans")))
    for opened in (Engine.open, open_bundle_or_engine, Janus.load):
        with pytest.raises(
            EngineError, match=r"built by an older janus-edge \(schema version 1"
        ) as e:
            opened(engine)  # type: ignore[operator]
        assert "; build it again with  janus-edge build " in str(e.value)
        assert str(e.value).endswith(f" {engine} {command}")


def older(engine: Path, capability: str | None = None, **changes: object) -> str:
    """The message for the engine as one of schema version 1."""
    said = {"schema_version": 1, "target": "tensorrt-10.3", "compute_capability": capability}
    edit_manifest(engine, lambda data: data.update(said, **changes))
    with pytest.raises(EngineError) as error:
        Engine.open(engine)
    return str(error.value)


def sizes(smallest: int, typical: int, largest: int) -> dict[str, int]:
    return {"smallest": smallest, "typical": typical, "largest": largest}


def test_older_profiles_are_kept(engine: Path) -> None:
    """Rows, prefill, window and capacity are in the command, which builds the one plan that it had."""
    profiles = [
        {"rows": sizes(1, 2, 8), "new_tokens": sizes(*new), "capacity": sizes(640, 640, 640)}
        for new in ((1, 64, 512), (1, 8, 16), (1, 1, 1))
    ]
    kept = "--profile rows=2:8,prefill=64:512,window=8:16,capacity=640 --force"
    message = older(engine, profiles=profiles)
    assert "again with  janus-edge build" in message
    assert message.endswith(kept)
    message = older(engine, profiles=profiles, options={"workspace": "512M"})
    assert "build it again, and give its other options again:  janus-edge build" in message
    assert message.endswith(kept)


@pytest.mark.parametrize("profiles", [None, 7, [{}], [{"rows": 1}], [[]], {"a": 1}])
def test_older_profiles_that_cannot_be_read(engine: Path, profiles: object) -> None:
    """The message asks for them."""
    message = older(engine, profiles=profiles)
    assert "build it again, and give its --profile again (rows, prefill, window, " in message
    assert message.endswith("--target tensorrt-10.3 --force")


@pytest.mark.parametrize(
    "change", [{"target": None}, {"bundle": None}, {"schema_version": "1"}, {"schema_version": 0}]
)
def test_older_engines_that_are_damaged(engine: Path, change: dict[str, object]) -> None:
    """A damaged manifest of an older engine is refused; nothing in it is trusted."""
    edit_manifest(engine, lambda data: data.update({"schema_version": 1, **change}))
    with pytest.raises(EngineError):
        Engine.open(engine)


def test_it_runs_alone(engine: Path) -> None:
    """An engine that was moved runs without its bundle and without what built it."""
    edit_manifest(engine, lambda data: data["bundle"].update(path="/gone"))
    command = [sys.executable, "-c", WITHOUT_TOOLS, str(engine)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


FILES = ["graphs/language_model.weights", "graphs/vq_encoder.onnx", "text_embeddings.bin",
         "tokenizer.json"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_damaged_files(engine: Path, name: str) -> None:
    """Missing and truncated files are noticed when it is opened, altered ones when they are used."""
    path = engine / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    Engine.open(engine)
    with pytest.raises(EngineError, match=f"{name}: its SHA-256 differs .*build the engine again"):
        use(engine)
    path.write_bytes(content[:-1])
    with pytest.raises(EngineError, match=f"{name}: .* bytes instead of"):
        Janus.load(engine, verify=False)
    path.unlink()
    with pytest.raises(EngineError, match=f"{name}: missing from the engine; build it again"):
        Janus.load(engine)


def test_hostile_folders(engine: Path, tmp_path: Path) -> None:
    """Links and paths that leave the folder, and files beside the graphs that nobody listed."""
    (engine / "graphs" / "stray").touch()
    with pytest.raises(EngineError, match=r"not listed in manifest.json, so it was not built"):
        Engine.open(engine)
    (engine / "graphs" / "stray").unlink()
    (engine / "tokenizer.json").rename(tmp_path / "outside")
    (engine / "tokenizer.json").symlink_to(tmp_path / "outside")
    with pytest.raises(EngineError, match="a link that leaves the engine's folder"):
        Engine.open(engine)
    edit_manifest(
        engine, lambda data: data["files"].update({"../outside": {"size": 1, "sha256": ""}})
    )
    with pytest.raises(EngineError, match="leaves the bundle's folder"):
        Engine.open(engine)


def test_not_an_engine(tmp_path: Path, engine: Path) -> None:
    with pytest.raises(EngineError, match=r"no such engine \(a folder that `janus-edge build`"):
        Engine.open(tmp_path / "nothing")
    (engine / "manifest.json").write_text('{"kind": "engine"')
    with pytest.raises(BundleError, match="not JSON"):  # it does not even say what it is
        Janus.load(engine)
    (engine / "manifest.json").unlink()
    with pytest.raises(EngineError, match=r"no manifest\.json, so it is not a complete engine"):
        Engine.open(engine)


@pytest.mark.parametrize(("version", "fits"), [
    ("1.31.1", True), ("1.31.9", True), ("1.31.0.dev1+cu12", True), ("1.32.1", False),
    ("2.31.1", False),
])  # fmt: skip
def test_versions(
    engine: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, version: str, fits: bool
) -> None:
    """Another minor version of ONNX Runtime is refused with the command that builds it again."""
    edit_manifest(engine, lambda data: data["tools"].update(onnxruntime="1.31.1"))
    monkeypatch.setattr("onnxruntime.__version__", version)
    if fits:
        use(engine)
        return
    with pytest.raises(
        EngineError, match=f"onnxruntime 1.31.1 and this machine has {version}"
    ) as e:
        Janus.load(engine)
    words = shlex.split(str(e.value).split("again with  ")[1])
    assert words == [
        "janus-edge", "build", str(tiny_bundle), str(engine), "--target", "ort-cpu", "--force",
    ]  # fmt: skip
    Engine.open(engine).verify()  # it can still be looked at


def test_no_version(engine: Path) -> None:
    """An engine that does not tell what it was built with fits nowhere."""
    edit_manifest(engine, lambda data: data["tools"].pop("onnxruntime"))
    with pytest.raises(EngineError, match="was built with onnxruntime unknown"):
        Janus.load(engine)


def test_the_command_survives_a_shell(engine: Path) -> None:
    """Spaces and quotes in paths are quoted."""
    edit_manifest(engine, lambda data: data["bundle"].update(path="/my bundles/fox's; rm"))
    assert shlex.split(Engine.open(engine).rebuild_command)[2] == "/my bundles/fox's; rm"


def test_a_target_of_a_newer_version(engine: Path) -> None:
    """An engine for what this version cannot run is refused before anything of it is used."""
    edit_manifest(engine, lambda data: data.update(target="abacus"))
    with pytest.raises(EngineError, match="built for 'abacus', which this version .* cannot run"):
        Janus.load(engine)


def test_an_old_onnxruntime_is_refused_as_ever(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.__version__", "1.30.0")
    with pytest.raises(BackendError, match="1.30.0 is too old"):
        Janus.load(engine)
