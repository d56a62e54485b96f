"""`--trtexec` and `--plans`: the files for another machine's trtexec, and the plans taken from it."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bundle import Bundle
from janus_edge.cuda_driver import Gpu
from janus_edge.engine import Engine
from janus_edge.engines import tensorrt_target
from janus_edge.engines.build import build_engine
from janus_edge.engines.targets import TargetOptions, target
from janus_edge.engines.tensorrt import api
from janus_edge.errors import EngineError, InputError
from janus_edge.graphs import Graph
from tests.unit.cli.conftest import Run
from tests.unit.engines.tensorrt.fakes import fake_tensorrt

PLAN = b"ftrt" + bytes(20) + bytes((10, 3, 0, 26)) + b"the rest"
PROFILE = ("--profile", "rows=2:4,prefill=8:16,window=4:8,capacity=32")


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Provide neither a GPU nor TensorRT."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))


def written(janus_edge: Run, bundle: Path, *words: str) -> dict[str, Any]:
    command = ["build", bundle, "e", "--trtexec", "f", "--json", *PROFILE, *words]
    done = janus_edge(*command)
    assert done.code == 0, done.err
    made: dict[str, Any] = json.loads(done.out)
    return made


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx has no wheel for this machine",
)
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-10.3"])
def test_the_lines_build(
    janus_edge: Run, tiny_bundle: Path, no_driver: None, tmp_path: Path, name: str
) -> None:
    """NVIDIA's builder accepts every file with the shapes of its line, read as trtexec reads them, in
    another folder and without the bundle."""
    made = written(janus_edge, tiny_bundle, "--target", name)
    folder = Path(shutil.copytree("f", tmp_path / "moved"))
    shutil.rmtree("f")
    assert {*made["commands"]} == {graph.value for graph in Graph}
    profiles = {graph: build(folder, words) for graph, words in made["commands"].items()}
    assert profiles == {g.value: 3 if g is Graph.LANGUAGE_MODEL else 1 for g in Graph}


def build(folder: Path, words: list[str]) -> int:
    """Build with TensorRT-RTX in trtexec's place; return the number of profiles."""
    import tensorrt_rtx as trt

    options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(folder / options["onnx"]))
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.ATTENTION_INPUT and "decomposableAttentions" in options:
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    starts = [i for i, word in enumerate(words) if word.startswith("--profile=")]
    for number, start in enumerate(starts):
        assert words[start] == f"--profile={number}"
        profile = builder.create_optimization_profile()
        bounds = [word.partition("=")[2].split(",") for word in words[start + 1 : start + 4]]
        for one in zip(*bounds, strict=True):
            names, sizes = zip(*(spec.rsplit(":", 1) for spec in one), strict=True)
            assert len(set(names)) == 1
            profile.set_shape(names[0], *(tuple(map(int, s.split("x"))) for s in sizes))
        assert config.add_optimization_profile(profile) == number
    assert builder.build_serialized_network(network, config) is not None
    return len(starts)


def test_the_script(janus_edge: Run, tiny_bundle: Path, no_driver: None, tmp_path: Path) -> None:
    """The script runs each printed line in its own folder and keeps existing plans. A failure ends it
    without leaving a plan. At the end it prints the next command."""
    made = written(janus_edge, tiny_bundle, "--target", "tensorrt", "--workspace", "1G")
    tool, said = tmp_path / "trtexec", tmp_path / "said"
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n"
        "plan = next(w for w in sys.argv if w.startswith('--saveEngine=')).partition('=')[2]\n"
        "Path(plan).write_text('a plan')\n"
        f"print(*sys.argv[1:], file=open({str(said)!r}, 'a'))\n"
        "sys.exit('vq_decoder' in plan and not Path('repaired').exists())\n"
    )
    tool.chmod(0o755)
    environment = os.environ | {"TRTEXEC": str(tool)}
    script = Path(made["script"]).absolute()

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert run().returncode == 1
    plans = Path("f", "plans")
    assert sorted(p.name for p in plans.iterdir()) == ["vision_encoder.plan", "vq_encoder.plan"]
    Path("f", "repaired").touch()
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert len([*plans.iterdir()]) == len(Graph)
    lines = said.read_text().splitlines()
    wanted = [
        " ".join(f"{w}.partial" if w.startswith("--saveEngine=") else w for w in words)
        for words in made["commands"].values()
    ]
    assert lines == [*wanted[:3], *wanted[2:]]
    assert all("--memPoolSize=workspace:1G" in line for line in lines)
    assert done.stdout.strip() == f"next:  {made['next']}"
    assert shlex.split(made["next"])[-2:] == ["--plans", str(plans.absolute())]


def test_a_script_that_is_killed(
    janus_edge: Run, tiny_bundle: Path, no_driver: None, tmp_path: Path
) -> None:
    """Half a plan has no plan's name, so the next run builds it again."""
    made = written(janus_edge, tiny_bundle, "--target", "tensorrt")
    tool = tmp_path / "trtexec"
    tool.write_text(
        "#!/bin/sh\nfor word; do case $word in --saveEngine=*) plan=${word#--saveEngine=};; esac; done\n"
        'echo half > "$plan"; [ -e whole ] || kill -9 $PPID; echo whole > "$plan"\n'
    )
    tool.chmod(0o755)
    environment = os.environ | {"TRTEXEC": str(tool)}
    script, plans = Path(made["script"]).absolute(), Path("f", "plans")
    assert subprocess.run([script], env=environment, check=False).returncode == -9
    assert [*plans.glob("*.plan")] == []
    Path("f", "whole").touch()
    subprocess.run([script], env=environment, check=True, capture_output=True)
    assert sorted(p.name for p in plans.iterdir()) == sorted(f"{n}.plan" for n in made["commands"])
    assert {plan.read_text() for plan in plans.iterdir()} == {"whole\n"}


def test_a_bundle_with_a_hostile_name(
    janus_edge: Run, tiny_bundle: Path, no_driver: None, tmp_path: Path
) -> None:
    """A line break in it does not make a command of the script, nor does a quote."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "b\ntouch owned #'$(touch owned)\x1b"))
    made = written(janus_edge, bundle, "--target", "tensorrt")
    tool = tmp_path / "trtexec"
    tool.write_text('#!/bin/sh\nfor w; do case $w in --saveEngine=*) : > "${w#*=}";; esac; done\n')
    tool.chmod(0o755)
    script = Path(made["script"]).absolute()
    environment = os.environ | {"TRTEXEC": str(tool)}
    done = subprocess.run([script], env=environment, check=True, capture_output=True, text=True)
    assert not list(Path().rglob("owned"))
    assert done.stdout == f"next:  {made['next']}\n"
    title = script.read_text("utf-8").splitlines()[1]
    assert title.startswith("# Build the graphs of b?touch owned #")


def test_what_is_printed(janus_edge: Run, tiny_bundle: Path, no_driver: None) -> None:
    """The command prints a line for each graph, as in the script, and writes no engine."""
    done = janus_edge("build", tiny_bundle, "e", "--target", "tensorrt", "--trtexec", "f")
    lines = [line for line in done.out.splitlines() if line.startswith("trtexec ")]
    assert len(lines) == len(Graph)
    script = Path("f", "build.sh").read_text("utf-8")
    assert all(word in script for line in lines for word in line.split()[1:])
    assert not Path("e").exists()
    assert "f/build.sh runs these lines on the machine with the GPU" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "tensorrt-rtx", "--trtexec", "f"], "leave it out for tensorrt-rtx"),
        (["--target", "ort-cpu", "--trtexec", "f"], "leave it out for ort-cpu"),
        (["--target", "tensorrt-rtx", "--plans", "f"], "leave it out for tensorrt-rtx"),
        (["--target", "ort-cpu", "--plans", "f"], "--plans is for TensorRT"),
        (["--target", "tensorrt", "--trtexec", "full"], "full: is not empty; give --trtexec a new"),
    ],
)
def test_what_is_refused(
    janus_edge: Run, tiny_bundle: Path, no_driver: None, words: list[str], message: str
) -> None:
    """Each error says what is wrong, and nothing is written."""
    Path("full").mkdir()
    Path("full", "file").touch()
    done = janus_edge("build", tiny_bundle, "e", *words)
    assert done.code == InputError.exit_code
    assert message in done.error
    assert [*Path().iterdir()] == [Path("full")]


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of plans from the TensorRT of this machine, which has a GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(recent=True).module)
    monkeypatch.setattr(tensorrt_target, "first_gpu", lambda: Gpu("Orin", "8.7", "12.6"))
    monkeypatch.setattr(api, "why_no_gpu", lambda: None)
    folder = tmp_path / "plans"
    folder.mkdir()
    for graph in Graph:
        (folder / f"{graph.value}.plan").write_bytes(PLAN + graph.value.encode())
    return folder


def sealed(bundle: Path, plans: Path, out: Path) -> Engine:
    opened = Bundle.open(bundle)
    options = TargetOptions(profile="capacity=32", plans=plans)
    return build_engine(opened, target("tensorrt", opened.manifest.config, options), out).engine


def test_an_engine_of_plans(tiny_bundle: Path, plans: Path, tmp_path: Path) -> None:
    """The plans are used as they are, with the manifest of a build. The command that builds the engine
    again names their folder."""
    engine = sealed(tiny_bundle, plans, tmp_path / "e")
    Engine.open(tmp_path / "e").verify()
    for graph in Graph:
        assert engine.graph(graph).read_bytes() == PLAN + graph.value.encode()
        assert engine.manifest.builds[graph.value].weight_bytes >= 0
    assert engine.manifest.builds["language_model"].workspace_bytes is None
    assert engine.manifest.tools["gpu"] == "Orin"
    assert engine.manifest.options == {"plans": str(plans)}
    assert f"--plans {plans} --force" in engine.rebuild_command


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot be read \(No such file or directory\); write the graphs and .* --trtexec"),
        (b"", "is not a plan of TensorRT; build it again"),
        (b"vtrt" + PLAN[4:], "is not a plan of TensorRT"),
        (PLAN[:24] + bytes((10, 16, 0, 72)), "built with TensorRT 10.16.0.72 and this machine has"),
    ],
)
def test_plans_that_cannot_be_used(
    tiny_bundle: Path, plans: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """A plan is refused if it is missing, of another tool (TensorRT-RTX' plans begin with `vtrt`) or of
    another version, and nothing is left."""
    plan = plans / "text_head.plan"
    plan.unlink()
    if content is not None:
        plan.write_bytes(content)
    with pytest.raises(EngineError, match=rf"text_head.plan: .*{message}"):
        sealed(tiny_bundle, plans, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_the_bundle_stays_readable(janus_edge: Run, copied_bundle: Path, no_driver: None) -> None:
    """The folder shares no file with the bundle: onnx-ir refuses weights that have a second hard link."""
    written(janus_edge, copied_bundle, "--target", "tensorrt")
    assert {path.stat().st_nlink for path in copied_bundle.rglob("*") if path.is_file()} == {1}
