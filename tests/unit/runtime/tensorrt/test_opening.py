"""Opening an engine: only where it fits, only if it is what it should be, and nothing left behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bench.bandwidth import MeasuresBandwidth
from janus_edge.bench.process_memory import ReportsDeviceMemory
from janus_edge.calib.recipes import quantised_recipe
from janus_edge.engine import Engine
from janus_edge.errors import BackendError, DependencyError, EngineError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from janus_edge.schema import to_dict
from tests.unit.perturbed import edit_manifest, seal
from tests.unit.runtime.cuda.fake_driver import FakeDriver
from tests.unit.runtime.tensorrt.engines import Machine, counting_engine, install
from tests.unit.runtime.tensorrt.fake_tensorrt import fake_module

REBUILD = "build it again .*janus-edge build .* --target tensorrt .*--force"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return counting_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def engine(made: Engine, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made.path, tmp_path / "engine"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx", "tensorrt-10.3"])
def test_which_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """Engines of the three targets are run by TensorRT or TensorRT-RTX."""
    version = {"tensorrt-rtx": "rtx-1.7", "tensorrt-10.3": "10.3"}.get(target, "11.4")
    machine = install(monkeypatch, version=version)
    tool = "tensorrt-rtx" if target == "tensorrt-rtx" else "tensorrt"
    versions = {tool: machine.module.__version__}
    engine = counting_engine(tmp_path, name=target, versions=versions)
    backend = open_backend(Engine.open(engine.path), cuda_graph=False)
    assert isinstance(backend, TensorRTBackend)
    assert not backend.cuda_graph
    backend.close()
    assert machine.driver.live() == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tools": {"tensorrt": "10.15.1"}}, rf"built with tensorrt 10\.15\.1 .*{REBUILD}"),
        ({"tools": {}}, rf"built with tensorrt unknown and this machine has 10\.16\.1; {REBUILD}"),
        (
            {"compute_capability": "8.7"},
            rf"for compute capability 8\.7 and this machine's Fake GPU has 8\.9; {REBUILD}",
        ),
        (
            {
                "compute_capability": "8.0, 8.6, 12.0",
                "target": "tensorrt-rtx",
                "tools": {"tensorrt-rtx": "1.7.1.116"},
            },
            r"for compute capability 8\.0, 8\.6, 12\.0 .* has 8\.9; .* --compute-capability 8\.9",
        ),
    ],
)
def test_engines_for_other_machines(
    engine: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    message: str,
) -> None:
    """Another version or another GPU: the command that builds it here; nothing stays open."""
    edit_manifest(engine, lambda data: data.update(change))
    rtx = fake_module(machine.driver, version="rtx-1.7")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx)
    with pytest.raises(EngineError, match=message):
        Janus.load(engine)
    assert machine.driver.live() == {}


def test_options_that_no_longer_exist(engine: Path, machine: Machine) -> None:
    """Refused before the GPU is opened, with a command that drops the option and keeps the others."""
    options = {"workspace": "1024", "weight-streaming": "2048"}
    edit_manifest(engine, lambda data: data.update(options=options))
    with pytest.raises(EngineError, match=f"--weight-streaming, which is no longer .*{REBUILD}"):
        Janus.load(engine)
    assert "weight-streaming" not in Engine.open(engine).rebuild_command
    assert "--workspace 1024 --force" in Engine.open(engine).rebuild_command
    assert machine.driver.live() == {}


@pytest.mark.parametrize(
    ("capability", "advice"),
    [
        ((9, 0), "tensorrt does; build it again with .* --target tensorrt --profile"),
        ((8, 7), r"tensorrt-10.3 \(JetPack 6\) or .* --target tensorrt-10.3 --profile"),
    ],
)
def test_rtx_engines_on_gpus_that_rtx_does_not_know(
    engine: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], advice: str
) -> None:
    """The command names a target that supports the GPU: building again for TensorRT-RTX would not help."""
    machine = install(monkeypatch, FakeDriver(capability=capability))
    change = {
        "compute_capability": "8.0, 8.6, 8.9, 12.0",
        "target": "tensorrt-rtx",
        "tools": {"tensorrt-rtx": "1.7.1.116"},
    }
    edit_manifest(engine, lambda data: data.update(change))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_module(machine.driver, version="rtx-1.7"))
    with pytest.raises(
        EngineError, match=f"TensorRT-RTX does not build for this GPU, {advice}"
    ) as error:
        Janus.load(engine)
    assert "compute-capability" not in str(error.value)
    assert machine.driver.live() == {}


@pytest.mark.parametrize(
    ("recipe", "capability", "advice"),
    [
        ("nvfp4-weight", (8, 9), "capability 10.0 or newer, not 8.9: quantise .* int4-weight"),
        ("fp8", (8, 6), "capability 8.9 or newer, not 8.6: quantise with --recipe int8"),
        ("int8-weight", (9, 0), "--recipe int8 or int4-weight for tensorrt, without -int8-heads"),
        ("int8-weight", (8, 7), "--recipe int8 or int4-weight for tensorrt-10.3, without"),
        ("nvfp4-weight", (10, 0), "--recipe int8 or int4-weight for tensorrt, without"),
        ("nvfp4-weight", (11, 0), "--recipe int8 or int4-weight for tensorrt-10.3, without"),
        ("fp8", (11, 0), "--recipe int8 for tensorrt-10.3, and build"),
    ],
)
def test_recipes_that_cannot_be_built_again_here(
    engine: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    capability: tuple[int, int],
    advice: str,
) -> None:
    """No command that `build` itself refuses: the recipe to quantise with instead, for this GPU."""
    machine = install(monkeypatch, FakeDriver(capability=capability))
    change = {
        "compute_capability": "12.0",
        "target": "tensorrt-rtx",
        "tools": {"tensorrt-rtx": "1.7.1.116"},
        "recipe": to_dict(quantised_recipe(recipe, "float16")),
    }
    edit_manifest(engine, lambda data: data.update(change))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_module(machine.driver, version="rtx-1.7"))
    with pytest.raises(EngineError, match=f"cannot be built again here .*{advice}") as error:
        Janus.load(engine)
    assert "janus-edge build" not in str(error.value)
    assert "build for tensorrt-rtx" not in str(error.value)
    assert machine.driver.live() == {}


@pytest.mark.parametrize("capability", [None, "8.9", "8.0,8.9", "8.6 8.9 12.0"])
def test_engines_for_this_machine(engine: Path, machine: Machine, capability: str | None) -> None:
    """Its own compute capability, alone or among others, or none that was told."""
    edit_manifest(engine, lambda data: data.update(compute_capability=capability))
    Janus.load(engine).close()
    assert machine.driver.live() == {}


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (None, "no NVIDIA driver .*install it"),
        (FakeDriver(count=0), "the driver sees no GPU"),
        (FakeDriver(lacking=frozenset({"cuGraphLaunch"})), "driver is too old"),
    ],
)
def test_machines_without_a_gpu(
    engine: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch, library: Any, message: str
) -> None:
    """TensorRT's runtime, which would end the process, is not even made."""

    def opened(name: str) -> Any:
        if library is None:
            raise OSError(name)
        return library

    monkeypatch.setattr("ctypes.CDLL", opened)
    monkeypatch.setattr(machine.module, "Runtime", None)
    with pytest.raises(BackendError, match=message):
        Janus.load(engine)


class Broken:
    """Finds a module whose import fails as ``failure``."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def find_spec(self, name: str, *_: object) -> None:
        if name == "tensorrt":
            raise self.failure


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ModuleNotFoundError("tensorrt"), r"'tensorrt' is not installed: .*janus-edge\[tensorrt\]"),
        (ImportError("undefined symbol"), "installed but does not import .undefined symbol"),
        (OSError("libnvinfer.so.10"), "installed but does not import .libnvinfer.so.10"),
    ],
)
def test_without_tensorrt(
    engine: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    message: str,
) -> None:
    """Absent or broken, it is a DependencyError, and the GPU is not touched."""
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.setattr(sys, "meta_path", [Broken(failure), *sys.meta_path])
    with pytest.raises(DependencyError, match=message):
        Janus.load(engine)
    assert machine.driver.calls.total() == 0


def test_a_runtime_that_cannot_be_made(engine: Path, machine: Machine) -> None:
    machine.behaviour.fail["Runtime"] = "factory function returned nullptr"
    with pytest.raises(
        BackendError, match=r"TensorRT 10\.16\.1 cannot start \(factory .*nvidia-smi"
    ):
        Janus.load(engine)
    assert machine.driver.live() == {}


def test_files_are_checked_before_they_are_opened(engine: Path, machine: Machine) -> None:
    """A plan that was altered is not given to TensorRT, which would run what is in it."""
    path = engine / "graphs" / "image_head.plan"
    path.write_bytes(path.read_bytes().replace(b"1000", b"1001"))
    with Janus.load(engine) as janus:
        janus.backend.session(Graph.TEXT_HEAD)
        with pytest.raises(EngineError, match=r"image_head\.plan: its SHA-256 differs"):
            janus.backend.session(Graph.IMAGE_HEAD)
    assert machine.driver.live() == {}


@pytest.mark.parametrize(
    ("told", "kind", "message"),
    [
        ("Version tag does not match", EngineError, rf"\(Version tag does not match\); {REBUILD}"),
        ("OutOfMemory: no memory", BackendError, "no memory.; free memory of the GPU"),
        ("", EngineError, REBUILD),
    ],
)
def test_plans_that_cannot_be_opened(
    made: Engine, machine: Machine, told: str, kind: type[Exception], message: str
) -> None:
    """TensorRT's own words, and what to do; errors alone, and none of an earlier failure."""
    machine.behaviour.fail["deserialize"] = told
    backend = TensorRTBackend(made)
    for _ in range(2):
        with pytest.raises(
            kind, match=f"text_head.plan: TensorRT 10.16.1 cannot open .*{message}"
        ) as e:
            backend.session(Graph.TEXT_HEAD)
        assert str(e.value).count(told) == 1 or not told
        assert "not an error" not in str(e.value)
    backend.close()
    assert machine.driver.live() == {}


@pytest.mark.parametrize(
    ("tensor", "change", "message"),
    [
        ("past_lengths", {"dtype": "FLOAT"}, "past_lengths is INPUT FLOAT DEVICE and not INPUT INT64"),
        ("inputs_embeds", {"dtype": "HALF"}, "inputs_embeds is INPUT HALF DEVICE and not INPUT FLOAT"),
        ("lengths", {"mode": "INPUT"}, "lengths is INPUT INT64 DEVICE and not OUTPUT"),
        ("past_lengths", {"location": "HOST"}, "past_lengths is INPUT INT64 HOST and not"),
        ("inputs_embeds", {"shape": ["B", "S", 7]}, r"inputs_embeds has the shape \[-1, -1, 7\]"),
        ("lengths", {"shape": ["B", 1]}, r"lengths has the shape \[-1, 1\] and not lengths \[B\] int64"),
        ("more", {"mode": "INPUT", "dtype": "FLOAT", "shape": [1]}, "has other tensors: more"),
    ],
)  # fmt: skip
def test_plans_of_other_graphs(
    made: Engine, machine: Machine, tensor: str, change: dict[str, Any], message: str
) -> None:
    """Inputs and outputs must be the graph's, or addresses would be given the wrong meaning."""
    if tensor == "more":
        original = machine.module.ICudaEngine.__init__

        def more(self: Any, runtime: Any, plan: dict[str, Any], weights: int) -> None:
            original(self, runtime, plan, weights)
            self._tensors["more"] = change

        machine.module.ICudaEngine.__init__ = more
    machine.behaviour.tensors[tensor] = change
    backend = TensorRTBackend(made)
    with pytest.raises(
        EngineError, match=f"is no engine of language_model .{message}.*; {REBUILD}"
    ):
        backend.session(Graph.LANGUAGE_MODEL)
    backend.close()
    assert machine.driver.live() == {}


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-10.3"])
def test_ports_of_the_other_flavour(tmp_path: Path, target: str) -> None:
    """An engine says itself whether it returns the cache or the new rows. A manifest of one target with the
    outputs of the other is refused."""
    engine = counting_engine(tmp_path, name=target).path
    swapped = "tensorrt-10.3" if target == "tensorrt" else "tensorrt"
    edit_manifest(engine, lambda data: data.update(target=swapped))
    with pytest.raises(EngineError, match="'language_model' has other inputs or outputs"):
        Engine.open(engine)


def test_a_plan_of_the_other_flavour(made: Engine, tmp_path: Path, machine: Machine) -> None:
    """The plan itself must return what its target's engines return."""
    other = counting_engine(tmp_path, name="tensorrt-10.3").path
    plan = "graphs/language_model.plan"
    shutil.copyfile(made.path / plan, other / plan)
    seal(other, plan)
    with pytest.raises(EngineError, match=r"has other tensors: new_key\.0, .*present_value"):
        TensorRTBackend(Engine.open(other)).plan(Graph.LANGUAGE_MODEL)


def test_another_gpu_of_the_same_kind(
    engine: Path, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """A plan is tuned for one GPU: on another a warning names both, and the command that mends it."""
    for gpu, warned in (("Fake GPU", 0), ("Fake GPU Ti", 1)):
        tools = {"tensorrt": "10.16.1", "gpu": gpu}
        edit_manifest(engine, lambda data, tools=tools: data.update(tools=tools))  # type: ignore[misc]
        caplog.clear()
        Janus.load(engine).close()
        assert len(caplog.messages) == warned
    assert "on a GPU of the name Fake GPU Ti, and this is Fake GPU" in caplog.messages[0]
    assert "janus-edge build" in caplog.messages[0]


@pytest.mark.parametrize("alias", [None, "past_value.0"])
def test_a_cache_that_is_not_updated_in_place(
    made: Engine, monkeypatch: pytest.MonkeyPatch, alias: str | None
) -> None:
    """An updated cache must share the memory of its own past; a version that cannot say so declares
    nothing."""
    machine = install(monkeypatch)
    monkeypatch.setattr(
        machine.module.ICudaEngine, "get_aliased_input_tensor", lambda _self, _name: alias
    )
    backend = TensorRTBackend(made)
    with pytest.raises(EngineError, match=f"present_key.0 is not {alias} updated in place"):
        backend.session(Graph.LANGUAGE_MODEL)
    backend.close()
    machine = install(monkeypatch, version="10.13")
    monkeypatch.setattr(machine.module, "__version__", "10.16.1")
    assert not hasattr(machine.module.ICudaEngine, "get_aliased_input_tensor")
    backend = TensorRTBackend(made)
    with pytest.raises(EngineError, match=r"present_key\.0 is not None updated in place"):
        backend.session(Graph.LANGUAGE_MODEL)
    backend.close()


def test_options(made: Engine, machine: Machine) -> None:
    with pytest.raises(InputError, match="fetch_every must be at least 1, found 0"):
        TensorRTBackend(made, fetch_every=0)
    assert machine.driver.calls.total() == 0


def test_figures_of_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench` asks a backend for its device's memory and bandwidth: weights of opened plans count."""
    install(monkeypatch, FakeDriver(total=16 << 20))
    backend = TensorRTBackend(counting_engine(tmp_path))
    assert isinstance(backend, ReportsDeviceMemory)
    assert isinstance(backend, MeasuresBandwidth)
    before = backend.device_memory_peak()
    backend.session(Graph.TEXT_HEAD)
    assert backend.device_memory_peak() - before >= 1000
    assert backend.read_bandwidth() > 0
    backend.close()
