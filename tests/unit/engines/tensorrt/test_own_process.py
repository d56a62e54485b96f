"""Builds in another process: what they return, and how the end of the process is noticed.

The process is real. It imports a TensorRT-RTX that this file writes, which consists of the fakes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from janus_edge import errors
from janus_edge.config import JanusConfig
from janus_edge.engines.tensorrt import own_process
from janus_edge.engines.tensorrt.build import BuiltPlan
from janus_edge.engines.tensorrt.own_process import build_apart
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.engines.tensorrt.request import PlanRequest, build_here, from_json, to_json
from janus_edge.errors import EngineError, InputError
from janus_edge.graphs import Graph
from tests.unit.engines.tensorrt.fakes import PLAN
from tests.unit.engines.tensorrt.test_api import HEAD
from tests.unit.runtime.fakes import CONFIG

#: A module of TensorRT-RTX; a test may append code that changes it.
MODULE = """
import os, signal, sys, time
from pathlib import Path
from tests.unit.engines.tensorrt.fakes import fake_tensorrt
module = fake_tensorrt(capabilities=("SM80",), streamed=True, recent=True).module
build = module.Builder.build_serialized_network_to_stream
def around(do):
    def stream(self, network, options, writer):
        writer.write(b"half of ")
        do(self)
        return build(self, network, options, writer)
    module.Builder.build_serialized_network_to_stream = stream
"""
END = "\nglobals().update({n: v for n, v in vars(module).items() if n != 'module'})\n"


@pytest.fixture
def head(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(HEAD.replace("<float16[64,48] weight>", ""))
    weight = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT16, dims=[64, 48])
    weight.raw_data = bytes(2 * 64 * 48)
    model.graph.initializer.append(weight)
    path = tmp_path / "image_head.onnx"
    onnx.save(model, str(path))
    return path


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, change: str = "") -> None:
    """Write a TensorRT-RTX that other processes also find."""
    modules = folder / "modules"
    modules.mkdir()
    modules.joinpath("tensorrt_rtx.py").write_text(MODULE + change + END, "utf-8")
    monkeypatch.syspath_prepend(modules)
    # set first, so that the module which a test imports is removed after it
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx")


def request(head: Path, **options: Any) -> PlanRequest:
    out = head.with_name("plans") / "image_head.plan"
    profile = Profile.of(CONFIG)
    return PlanRequest("tensorrt-rtx", head, Graph.IMAGE_HEAD, CONFIG, profile, out, **options)


def row(state: Any = lambda _text: None) -> Any:
    return SimpleNamespace(state=state)


def test_what_comes_back(head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan, figures, warnings and phases equal those of a build in this process, which does not even
    import TensorRT. Output that the libraries print does no harm."""
    install(monkeypatch, tmp_path, "around(lambda builder: os.write(1, b'printed\\n'))")
    told: dict[str, list[str]] = {"apart": [], "here": []}
    apart = build_apart(request(head), row(told["apart"].append))
    assert "tensorrt_rtx" not in sys.modules
    assert apart.path.read_bytes() == b"half of " + PLAN
    here = build_here(request(head), row(told["here"].append))
    seconds = {"seconds": 0.0}
    found, wanted = (from_json(BuiltPlan, {**as_dict(one), **seconds}) for one in (apart, here))
    assert found == wanted
    assert told["apart"] == told["here"] == ["parse", "building engine"]


def as_dict(built: BuiltPlan) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(to_json(built))
    return made


def test_nothing_is_lost_in_json(head: Path) -> None:
    """Every field of a request comes back with its value and type."""
    asked = request(
        head, capabilities=("8.0", "8.9"), timing_cache=bytes(range(256)), workspace=1 << 29,
        refit=True, dump=head.with_name("dump"),
    )  # fmt: skip
    for one in (asked, request(head)):
        assert from_json(PlanRequest, json.loads(to_json(one))) == one
    assert isinstance(asked.config, JanusConfig)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("os.kill(os.getpid(), 9)", r"image_head for tensorrt-rtx was killed by signal 9 \(SIGKILL\)"
         r"; .* memory is short: .* smaller --workspace"),
        ("os.kill(os.getpid(), 15)", r"killed by signal 15 \(SIGTERM\); .* memory is short: .* update "
         "TensorRT"),
        ("os.abort()", r"killed by signal 6 \(SIGABRT\); update TensorRT"),
        ("print('CUDA is gone', file=sys.stderr, flush=True) or os.kill(os.getpid(), 11)",
         r"was killed by signal 11 \(SIGSEGV\) \(CUDA is gone\); "),
        ("os._exit(3)", "ended with exit code 3; "),
    ],
)  # fmt: skip
def test_a_process_that_ends(
    head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, message: str
) -> None:
    """The error names the graph, how the process ended and the fix; half a plan is removed."""
    install(monkeypatch, tmp_path, f"around(lambda builder: {change})")
    with pytest.raises(EngineError, match=rf"image_head.onnx: the process .*{message}"):
        build_apart(request(head), row())
    assert [*head.with_name("plans").iterdir()] == []


def test_errors_come_back(head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the build keeps its class and its whole message."""
    install(monkeypatch, tmp_path)
    taken = tmp_path / "taken"
    taken.write_text("a file")
    asked = request(head, dump=taken / "network.txt")
    with pytest.raises(InputError) as there:
        build_here(asked, row())
    with pytest.raises(InputError) as back:
        build_apart(asked, row())
    assert (type(back.value), str(back.value)) == (type(there.value), str(there.value))


def test_every_error_can_come_back() -> None:
    """Each error class can be made from its message alone and found by its name."""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.JanusEdgeError):
            assert str(getattr(errors, name)("why")) == "why"


def test_a_mistake_of_ours(head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is not one of ours ends the process, and the error shows its last line."""
    install(monkeypatch, tmp_path, "around(lambda builder: builder.nothing)")
    with pytest.raises(EngineError, match=r"exit code 1 \(AttributeError: .*'nothing'.*\); "):
        build_apart(request(head), row())


def test_an_interrupt(head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the child at once, even if its builder ignores signals, and nothing is left."""
    pid = tmp_path / "pid"
    install(
        monkeypatch, tmp_path,
        f"around(lambda b: Path({str(pid)!r}).write_text(str(os.getpid())) and time.sleep(600))",
    )  # fmt: skip

    def interrupt(_text: str) -> None:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
        os.kill(int(pid.read_text()), signal.SIGINT)  # the terminal sends it to both
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_apart(request(head), row(interrupt))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert [*head.with_name("plans").iterdir()] == []


def test_a_parent_that_dies(head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the parent dies, the child ends, whatever it is doing."""
    install(monkeypatch, tmp_path, "around(lambda b: time.sleep(600))")
    asked = tmp_path / "request.json"
    asked.write_text(to_json(request(head)))
    command = [sys.executable, "-I", "-c", own_process._CHILD, str(asked), *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        try:
            assert b"parse" in child.stdout.readline()
            child.stdin.close()
            assert child.wait(timeout=60) == 1
        finally:
            child.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_build_that_is_terminated(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """One line and the shell's exit code; the child, the half engine and the scratch folder are gone."""
    pid, scratch = tmp_path / "pid", tmp_path / "scratch"
    scratch.mkdir()
    install(
        monkeypatch, tmp_path,
        f"around(lambda b: Path({str(pid)!r}).write_text(str(os.getpid())) and time.sleep(600))",
    )  # fmt: skip
    modules = os.pathsep.join([str(tmp_path / "modules"), *sys.path])
    environment = {**os.environ, "PYTHONPATH": modules, "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "janus_edge", "build", str(tiny_bundle), "e", "--no-cache"]
    command += ["--target", "tensorrt-rtx", "--compute-capability", "8.0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        while not (pid.exists() and pid.read_text()):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) == code
    name = signal.Signals(number).name
    assert said.rstrip().endswith(f"janus-edge: ended by {name}")
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["modules", "pid", "scratch"]
    assert [*scratch.iterdir()] == []
