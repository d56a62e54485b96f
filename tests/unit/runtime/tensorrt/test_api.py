"""What running calls of TensorRT exists in the bindings of every version, or is asked for first."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import janus_edge
from janus_edge.engines.target_names import TARGET_NAMES
from janus_edge.runtime.tensorrt.api import Features, features
from janus_edge.tensorrt_module import MODULES
from tests.contract.test_tensorrt_api import VERSIONS, bindings, exists, module_uses, object_uses

FOLDER = Path(janus_edge.__file__).parent / "runtime" / "tensorrt"

#: What each version must be found to have.
FEATURES = {
    "10.3": Features(False, False, False), "10.13": Features(False, False, False),
    "10.15": Features(True, False, False), "10.16": Features(True, False, False),
    "11.4": Features(True, False, False), "rtx-1.7": Features(True, True, True),
}  # fmt: skip


def uses() -> set[str]:
    """All that is named of TensorRT."""
    sources = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.py")}
    named = {use for source in sources.values() for use in module_uses(source)}
    return named | set(object_uses(sources["objects.py"]))


def asked_for() -> set[str]:
    """The names that `features` asks for, and the classes that they are of."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((FOLDER / "api.py").read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "has":
            name = ast.literal_eval(node.args[0])
            found |= {name, name.partition(".")[0]}
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_what_we_call_exists(version: str) -> None:
    """In every version, or `features` asks for it; of classes that every version has, each member
    that is not everywhere is asked for by its own name."""
    members = {name for name in asked_for() if "." in name}
    lacking = {name for name in uses() if not exists(version, name)}
    assert {n for n in lacking if "." in n and n.partition(".")[0] != "IRuntimeConfig"} <= members
    assert {n for n in lacking if n.startswith(("IRuntimeConfig", "IRuntimeCache"))} <= asked_for()


@pytest.mark.parametrize("version", VERSIONS)
def test_features(version: str) -> None:
    assert features(bindings(version)) == FEATURES[version]


def test_uses_are_found() -> None:
    """The walks see the module's attributes and the objects' members."""
    assert uses() >= {
        "ILogger", "Runtime", "ExecutionContextAllocationStrategy.USER_MANAGED",
        "IExecutionContext.execute_async_v3", "ICudaEngine.get_device_memory_size_for_profile_v2",
        "IExecutionContext.is_stream_capturable", "Runtime.deserialize_cuda_engine",
    }  # fmt: skip
    assert {n for n in asked_for() if "." in n} < uses()


def test_the_targets_are_those_that_are_built() -> None:
    """What runs is what `build` offers, beside ONNX Runtime's."""
    assert {*MODULES} == {name for name in TARGET_NAMES if not name.startswith("ort-")}
