"""`janus-edge build`, and the other commands on what it writes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.graphs import Graph
from janus_edge.schema import to_dict
from tests.unit.cli.conftest import Run
from tests.unit.perturbed import edit_manifest


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def engine(janus_edge: Run, tiny_bundle: Path, tmp_path: Path) -> Path:
    assert janus_edge("build", tiny_bundle, tmp_path / "engine", "--target", "ort-cpu").code == 0
    return tmp_path / "engine"


def test_build(janus_edge: Run, tiny_bundle: Path, tmp_path: Path, cache: Path) -> None:
    """It tells what was done to each graph; the second build comes from the cache."""
    first = janus_edge("build", tiny_bundle, "first", "--target", "ort-cpu")
    assert first.code == 0
    line = next(x for x in first.out.splitlines() if x.strip().startswith("language_model"))
    assert "group_query_attention 2" in line
    assert "MiB, ort-cpu; built in " in first.out
    assert [p.name for p in cache.iterdir()] == [Engine.open("first").manifest.key]
    second = janus_edge("build", tiny_bundle, "second", "--target", "ort-cpu")
    assert "MiB, ort-cpu; from the cache, built in " in second.out
    Engine.open("second").verify()
    prepacked = janus_edge("build", tiny_bundle, "packed", "--target", "ort-cpu", "--prepack")
    assert "from the cache" not in prepacked.out
    assert " prepack         yes" in janus_edge("info", "packed").out
    third = janus_edge("build", tiny_bundle, "third", "--target", "ort-cpu", "--no-cache")
    assert "from the cache" not in third.out


def test_build_as_json(janus_edge: Run, tiny_bundle: Path) -> None:
    done = janus_edge("build", tiny_bundle, "e", "--target", "ort-cpu", "--json", "--no-cache")
    data = json.loads(done.out)
    assert (data.pop("path"), data.pop("cached")) == ("e", False)
    assert data == json.loads(json.dumps(to_dict(Engine.open("e").manifest)))


def test_what_cannot_be_built(
    janus_edge: Run, tiny_bundle: Path, copied_bundle: Path, engine: Path, cache: Path
) -> None:
    """Each says what is wrong and leaves nothing behind."""
    edit_manifest(copied_bundle, lambda data: data["recipe"].update(float_type="bfloat16"))
    for arguments, code, message in (
        ((tiny_bundle, "e", "--target", "abacus"), 2, "unknown target 'abacus': choose one of"),
        ((tiny_bundle, engine, "--target", "ort-cpu"), 2, "exists already"),
        ((engine, "e", "--target", "ort-cpu"), 4, "is of kind 'engine', and a bundle is needed"),
        (("nope", "e", "--target", "ort-cpu"), 4, "no such bundle"),
        ((copied_bundle, "e", "--target", "ort-cpu"), 10, "bfloat16"),
    ):
        done = janus_edge("build", *arguments)
        assert done.code == code
        assert message in done.error
    assert list(Path().iterdir()) == []
    assert len(list(cache.iterdir())) == 1
    assert "--target" in janus_edge("build", tiny_bundle, "e").err


def test_without_onnx(janus_edge: Run, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building needs an extra, which is named."""
    for name in [n for n in __import__("sys").modules if n.startswith("janus_edge.engines.")]:
        monkeypatch.delitem(__import__("sys").modules, name)
    monkeypatch.setitem(__import__("sys").modules, "onnx_ir", None)
    done = janus_edge("build", tiny_bundle, "e", "--target", "ort-cpu")
    assert done.code == 9
    assert "janus-edge[engines]" in done.error


def test_the_command_of_an_engine_that_does_not_fit(janus_edge: Run, engine: Path) -> None:
    """The error of any command names the one that mends it, and that one does."""
    edit_manifest(engine, lambda data: data["tools"].update(onnxruntime="1.30.2"))
    done = janus_edge("generate", engine, "a fox")
    assert done.code == 10
    program, *words = shlex.split(done.error.split("again with ")[1])
    assert program == "janus-edge"
    assert janus_edge(*words).code == 0
    assert janus_edge("generate", engine, "a fox").code == 0


def test_info(janus_edge: Run, engine: Path, tiny_bundle: Path) -> None:
    """What it was built for, from and with, and what was done to its graphs."""
    done = janus_edge("info", engine)
    assert (done.code, done.err) == (0, "")
    for fact in (
        "ort-cpu", str(tiny_bundle), Bundle.open(tiny_bundle).digest[:16], "fp32", "onnxruntime 1.",
        "32 x 32 px, 16 codes", "group_query_attention 2",
    ):  # fmt: skip
        assert fact in done.out
    assert "against PyTorch" not in done.out
    for graph in Graph:
        line = next(x for x in done.out.splitlines() if x.startswith(f"{graph.value} "))
        assert "weights " in line
    data = json.loads(janus_edge("info", engine, "--json").out)
    assert data.pop("path") == str(engine)
    assert data.pop("digest") == Engine.open(engine).digest
    assert data == json.loads(json.dumps(to_dict(Engine.open(engine).manifest)))


def test_info_of_a_device(janus_edge: Run, engine: Path) -> None:
    """Compute capability, profiles and workspace are shown where there are any."""

    def change(data: dict[str, object]) -> None:
        sizes = {"smallest": 1, "typical": 2, "largest": 8}
        data["compute_capability"] = "8.7"
        profile = {
            "rows": sizes,
            "new_tokens": sizes,
            "capacity": {**sizes, "smallest": 8, "typical": 8},
        }
        file = data["graphs"]["language_model"]["file"]  # type: ignore[index]
        built = {"weight_bytes": 0, "workspace_bytes": None, "passes": {}}
        data["plans"] = [{"name": "lm", "file": file, "profiles": [profile], "build": built}]
        told = {
            "workspace_bytes": 3 << 20, "device_weight_bytes": 5 << 20,
            "precisions": {"MATRIX_MULTIPLY HALF": 2, "CONVOLUTION FLOAT": 1, "SHUFFLE HALF": 4},
        }  # fmt: skip
        data["builds"]["text_head"].update(told)  # type: ignore[index]
        data["options"] = {"prepacked-for": "1024"}

    edit_manifest(engine, change)
    done = janus_edge("info", engine)
    assert "ort-cpu, compute capability 8.7" in done.out
    assert "lm: capacity 8, rows 1 to 8 (2), new tokens 1 to 8 (2)" in done.out
    assert "on the device 5.0 MiB, workspace 3.0 MiB" in done.out
    assert "  layers  HALF 6, FLOAT 1 (products HALF 2, FLOAT 1)\n" in done.out
    assert done.out.count("  layers  ") == 1
    assert any(line.split() == ["prepacked", "for", "1024"] for line in done.out.splitlines())


def test_verify(janus_edge: Run, engine: Path) -> None:
    assert "all as written" in janus_edge("verify", engine).out
    path = engine / "graphs" / "vq_decoder.weights"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    done = janus_edge("verify", engine)
    assert (done.code, done.out) == (10, "")
    assert f"{path}: its SHA-256 differs" in done.error


def test_commands_that_take_a_bundle(
    janus_edge: Run, engine: Path, tiny_bundle: Path, photo: Path
) -> None:
    """generate, chat, reconstruct and parity take an engine in its place, and give the same."""
    codes = []
    for folder in (tiny_bundle, engine):
        done = janus_edge("generate", folder, "a red fox", "--json", "--threads", "1")
        codes.append(json.loads(done.out)["pictures"][0]["codes"])
    assert codes[0] == codes[1]
    assert janus_edge("chat", engine, "--image", photo, "What is this?").code == 0
    assert janus_edge("reconstruct", engine, photo).code == 0
    few = ["--prompt", "a cat", "--image", photo, "--threads", "1", "--json"]
    for folders in ((tiny_bundle, engine), (engine, tiny_bundle)):
        data = json.loads(janus_edge("parity", *folders, *few).out)
        assert data["passed"]
        assert data["free_running"][0]["equal_codes"] == 16
    for command in ("calibrate", "quantize"):
        more = ["--recipe", "int8-weight"] if command == "quantize" else []
        done = janus_edge(command, engine, "out.npz", *more)
        assert done.code == 4
        assert "a bundle is needed" in done.error


@pytest.mark.parametrize("option", ["--trtexec", "--plans", "--dump-network"])
def test_an_empty_folder_name(janus_edge: Run, tiny_bundle: Path, option: str) -> None:
    """It is not the current folder."""
    done = janus_edge("build", tiny_bundle, "e", "--target", "tensorrt", option, "")
    assert (done.code, done.error) == (2, f"{option} is empty: name a folder")
    assert [*Path().iterdir()] == []


@pytest.mark.parametrize(
    "words",
    [["--compute-capability", "8.9"], ["--dump-network", "d"], ["--plans", "p"], ["--force"]],
)
def test_what_trtexec_does_not_take(janus_edge: Run, tiny_bundle: Path, words: list[str]) -> None:
    """Options that would do nothing are refused by their name."""
    done = janus_edge("build", tiny_bundle, "e", "--target", "tensorrt", "--trtexec", "f", *words)
    assert done.code == 2
    assert done.error == f"--trtexec builds no engine here: leave {words[0]} out"
    assert [*Path().iterdir()] == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("{}/graphs/e", ["--target", "ort-cpu"]),
        ("link/e", ["--target", "ort-cpu"]),
        ("{}", ["--target", "ort-cpu", "--force"]),
        ("e", ["--target", "tensorrt", "--trtexec", "{}/f"]),
        ("e", ["--target", "tensorrt-rtx", "--dump-network", "{}/d"]),
    ],
)
def test_inside_the_bundle(
    janus_edge: Run, copied_bundle: Path, out: str, words: list[str]
) -> None:
    """Nothing is written there, by a link either: the bundle stays whole."""
    Path("link").symlink_to(copied_bundle)
    named = [word.format(copied_bundle) for word in (out, *words)]
    done = janus_edge("build", copied_bundle, *named)
    assert done.code == 2
    assert "is inside the bundle" in done.error
    Bundle.open(copied_bundle).verify()
    assert not Path("e").exists()
