"""Importing TensorRT, and the differences of its versions on a small fake module."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from janus_edge.cuda_driver import Gpu
from janus_edge.engines.tensorrt import api
from janus_edge.engines.tensorrt import options as options_module
from janus_edge.engines.tensorrt.api import TensorRT, features, load
from janus_edge.engines.tensorrt.build import BuiltPlan, build_plan
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.errors import DependencyError, EngineError, InputError
from janus_edge.graphs import Graph
from tests.unit.engines.tensorrt.fakes import PLAN, Enum, fake_tensorrt
from tests.unit.runtime.fakes import CONFIG

HEAD = """
<ir_version: 11, opset_import: ["" : 24]>
image_head (float16[N,64] hidden_states) => (float16[N,48] logits)
<float16[64,48] weight>
{ [m] logits = MatMul (hidden_states, weight) }
"""


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A graph with the image head's names; its weight of 6144 bytes is stated, not stored."""
    model = onnx.parser.parse_model(HEAD)
    weight = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT16, dims=[64, 48])
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "w", "offset": "0", "length": "6144"}.items():
        weight.external_data.add(key=key, value=value)
    model.graph.initializer.append(weight)
    path = tmp_path / "image_head.onnx"
    onnx.save(model, str(path))
    return path


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "why_no_gpu", lambda: None)


def build(head: Path, tensorrt: TensorRT, **options: Any) -> BuiltPlan:
    out = head.with_name("plans") / "image_head.plan"
    profile = Profile.of(CONFIG)
    return build_plan(head, Graph.IMAGE_HEAD, CONFIG, profile, tensorrt, out, **options)


def test_unknown_target() -> None:
    with pytest.raises(InputError, match=r"'ort-cpu' is not a TensorRT target: choose one of tens"):
        load("ort-cpu")


@pytest.mark.parametrize(
    ("target", "module", "command"),
    [
        ("tensorrt", "tensorrt", r"'tensorrt' is not installed.*janus-edge\[tensorrt\]"),
        ("tensorrt-10.3", "tensorrt", r"'tensorrt' is not installed.*janus-edge\[tensorrt\]"),
        ("tensorrt-rtx", "tensorrt_rtx", r"'tensorrt-rtx' is not installed.*janus-edge\[rtx\]"),
    ],
)
def test_not_installed(
    monkeypatch: pytest.MonkeyPatch, target: str, module: str, command: str
) -> None:
    """The error names the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=command):
        load(target)


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_broken_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str) -> None:
    """Bindings without their libraries are installed and yet do not import."""
    (tmp_path / "tensorrt.py").write_text(f"raise {error}('libnvinfer.so.11: not found')\n")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DependencyError, match=r"does not import \(libnvinfer.so.11: not found\)"):
        load("tensorrt")


@pytest.mark.parametrize(
    ("target", "module", "extra"),
    [("tensorrt", "tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx", "rtx")],
)
def test_module_without_a_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: str, module: str, extra: str
) -> None:
    """What an installation left (an empty folder imports) is named, with what installs it."""
    (tmp_path / module).mkdir()
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    message = rf"module {module} \(.*{module}\) has no version.*pip install 'janus-edge\[{extra}\]'"
    with pytest.raises(DependencyError, match=message):
        load(target)
    monkeypatch.delitem(sys.modules, module, raising=False)


def test_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and version are what messages show."""
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.4.0.106"))
    assert str(load("tensorrt")) == "TensorRT 11.4.0.106"


def test_features_of_nothing() -> None:
    """A version without any of what is asked for: the plain way in everything."""
    found = features(SimpleNamespace())
    assert (found.network_flags, found.capabilities, found.timing_cache) == (0, (), True)
    assert [found.attention, found.cache_update] == [False, False]
    assert [found.streamed_plan, found.user_allocation] == [False, False]


@pytest.mark.parametrize("streamed", [False, True])
def test_build(head: Path, streamed: bool) -> None:
    """The plan is written as it is, streamed or not; what was asked for reaches the builder."""
    tensorrt = fake_tensorrt(streamed=streamed)
    built = build(head, tensorrt, workspace=1 << 20, refit=True, timing_cache=b"mine")
    assert built.path.read_bytes() == PLAN
    assert [p.name for p in built.path.parent.iterdir()] == ["image_head.plan"]
    assert (built.size, built.weight_bytes) == (len(PLAN), 6144)
    assert (built.device_weight_bytes, built.device_bytes) == (6400, 640)
    assert built.precisions == {"MATRIX_MULTIPLY HALF": 1}
    assert (built.timing_cache, built.warnings) == (b"mine, longer", ())
    (options,) = tensorrt.module.made
    assert options.flags == {"REFIT"}
    assert (options.limits, options.cache) == ({"WORKSPACE": 1 << 20}, b"mine")
    assert (options.max_aux_streams, options.profiling_verbosity) == (0, None)
    assert [p.shapes for p in options.profiles] == [{"hidden_states": ((1, 6), (2, 6), (2, 6))}]


def test_foreign_timing_cache(head: Path) -> None:
    """One of another GPU or version is said to be of no use, and the build goes on without it."""
    tensorrt = fake_tensorrt()
    built = build(head, tensorrt, timing_cache=b"theirs")
    assert tensorrt.module.made[0].cache == b""
    assert built.warnings == ("the timing cache is of another GPU or version: not used",)


def test_ahead_of_time(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With compute capabilities no GPU is looked for, and no timing cache touched."""
    monkeypatch.setattr(api, "why_no_gpu", lambda: "there is none")
    tensorrt = fake_tensorrt(capabilities=("SM80", "SM120"))
    built = build(head, tensorrt, capabilities=("12.0", "8.0"), timing_cache=b"mine")
    (options,) = tensorrt.module.made
    assert (options.capabilities, options.num_compute_capabilities) == ({0: "SM80", 1: "SM120"}, 2)
    assert (options.cache, built.timing_cache) == (None, None)
    assert options.flags == {"REQUIRE_USER_ALLOCATION"}


def test_usual_capabilities(head: Path) -> None:
    """TensorRT-RTX' own choice, as far as a version has them."""
    tensorrt = fake_tensorrt(capabilities=("SM75", "SM80", "SM120"))
    build(head, tensorrt)
    assert tensorrt.module.made[0].capabilities == {0: "SM80", 1: "SM120"}


@pytest.mark.parametrize(
    ("capability", "target"),
    [
        ("8.7", r"tensorrt-10.3 \(JetPack 6\) or tensorrt \(JetPack 7.2\)"),
        ("9.0", "tensorrt$"),
        ("11.0", r"tensorrt-10.3 \(JetPack 7.0, 7.1\) or tensorrt \(JetPack 7.2\)"),
        ("99.9", "tensorrt$"),
    ],
)
def test_a_gpu_that_rtx_does_not_name(head: Path, capability: str, target: str) -> None:
    """Such a GPU is refused before any work, even if `ComputeCapability.CURRENT` exists, and the error
    names TensorRT's target."""
    tensorrt = fake_tensorrt(capabilities=("SM80", "SM89"))
    message = (
        f"build for compute capability {capability}.*choose from 8.0, 8.9, .*--target {target}"
    )
    with pytest.raises(InputError, match=message):
        build(head, tensorrt, capabilities=("8.9", capability))


def test_this_machines_gpu(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a choice, an engine that could not run here is refused; with a choice it is built."""
    monkeypatch.setattr(options_module, "first_gpu", lambda: Gpu("NVIDIA H200", "9.0", "13.0"))
    tensorrt = fake_tensorrt(capabilities=("SM80", "SM120"))
    message = "this machine's NVIDIA H200, .* 9.0: use --target tensorrt, or .*8.0, 12.0"
    with pytest.raises(InputError, match=message):
        build(head, tensorrt)
    build(head, tensorrt, capabilities=("8.0",))
    assert tensorrt.module.made[-1].capabilities == {0: "SM80"}
    monkeypatch.setattr(options_module, "first_gpu", lambda: Gpu("NVIDIA A100", "8.0", "13.0"))
    build(head, tensorrt)
    assert tensorrt.module.made[-1].capabilities == {0: "SM80", 1: "SM120"}


def test_capability_that_is_not_to_be_had(head: Path) -> None:
    """TensorRT itself offers no choice."""
    with pytest.raises(InputError, match="builds for this machine's GPU only"):
        build(head, fake_tensorrt(capabilities=()), capabilities=("8.7",))


def test_no_gpu(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where building needs the GPU, its absence is told before a builder is made."""
    monkeypatch.setattr(api, "why_no_gpu", lambda: "there is no driver; install it")
    with pytest.raises(EngineError, match=r"TensorRT 10.3.0 builds on the GPU .* no driver; inst"):
        build(head, fake_tensorrt())


def test_builder_that_does_not_start(head: Path) -> None:
    """The bindings raise TypeError for a null pointer."""
    tensorrt = fake_tensorrt()

    def builder(_logger: Any) -> Any:
        raise TypeError("factory function returned nullptr")

    tensorrt.module.Builder = builder
    with pytest.raises(EngineError, match="cannot start a builder.*nullptr.*nvidia-smi"):
        build(head, tensorrt)


@pytest.mark.parametrize("streamed", [False, True])
def test_failed_build(head: Path, streamed: bool) -> None:
    """TensorRT's words and a fix that follows from them; no file is left."""
    tensorrt = fake_tensorrt(plan=None, streamed=streamed)
    with pytest.raises(
        EngineError, match=r"cannot build the engine \(kOPT values violate shape .*other sizes"
    ):
        build(head, tensorrt)
    assert not [*head.with_name("plans").iterdir()]


def test_full_disk(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that cannot be written fails the build, though TensorRT goes on regardless."""
    tensorrt = fake_tensorrt(streamed=True)
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    head.with_name("plans").mkdir()
    head.with_name("plans").joinpath("image_head.plan.partial").symlink_to("/dev/full")
    with pytest.raises(EngineError, match=r"cannot be written \(No space left on device\)"):
        build(head, tensorrt)
    assert not [*head.with_name("plans").iterdir()]


def test_dump(head: Path, tmp_path: Path) -> None:
    """The network is written before it is built: one that cannot be built can be read."""
    dump = tmp_path / "networks" / "image_head.txt"
    with pytest.raises(EngineError, match="cannot build"):
        build(head, fake_tensorrt(plan=None), dump=dump)
    assert "MATRIX_MULTIPLY m [HALF]" in dump.read_text("utf-8")
    tensorrt = fake_tensorrt()
    build(head, tensorrt, dump=dump)
    assert tensorrt.module.made[0].profiling_verbosity.name == "DETAILED"
    with pytest.raises(InputError, match="cannot be written .*give --dump-network another folder"):
        build(head, fake_tensorrt(), dump=dump / "within a file")


def test_progress(head: Path) -> None:
    """The row tells the phases that have no parent."""
    told: list[str] = []
    row = SimpleNamespace(state=told.append)
    build(head, fake_tensorrt(), progress=row)
    assert told == ["parse", "building engine"]


def test_other_ports(head: Path) -> None:
    """A graph of other names than the table's is not built."""
    tensorrt, profile = fake_tensorrt(), Profile.of(CONFIG)
    out = head.with_suffix(".plan")
    with pytest.raises(EngineError, match="inputs hidden_states instead of image_codes; export"):
        build_plan(head, Graph.VQ_DECODER, CONFIG, profile, tensorrt, out)


def test_no_graph(head: Path) -> None:
    head.write_bytes(b"not ONNX")
    with pytest.raises(EngineError, match="not an ONNX graph .*`janus-edge verify`"):
        build(head, fake_tensorrt())


def test_severities() -> None:
    """Errors and warnings are kept on one line each, the rest is not."""
    from janus_edge.engines.tensorrt.messages import Messages

    messages = Messages()
    logger = messages.logger(fake_tensorrt().module)
    for severity in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"):
        logger.log(Enum(severity), f"{severity}\n  said")
    assert messages.errors == ["INTERNAL_ERROR said", "ERROR said"]
    assert messages.warnings == ["WARNING said"]
