"""What we call of TensorRT exists in the bindings of every supported version, or is asked for first.

`tensorrt_api.json` is what the bindings of each version have; `benchmarks/record_tensorrt_api.py`
makes it from NVIDIA's wheels.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import janus_edge
from janus_edge.compute_capability import RTX_CAPABILITIES, built_by_rtx
from janus_edge.engines.tensorrt.api import Features, features

FOLDER = Path(janus_edge.__file__).parent / "engines" / "tensorrt"
TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text("utf-8"))
VERSIONS: list[str] = [*TABLE["wheels"]]

OLDER = Features(
    2, (), attention=False, cache_update=False, streamed_plan=False, user_allocation=False,
)  # fmt: skip
NEWER = replace(OLDER, attention=True, cache_update=True, streamed_plan=True)

#: What each version must be found to have.
FEATURES = {
    "10.3": OLDER,
    "10.13": replace(OLDER, streamed_plan=True),
    "10.15": NEWER,
    "10.16": NEWER,
    "11.4": NEWER,
    "rtx-1.7": replace(
        NEWER,
        capabilities=("12.0", "12.1", "7.5", "8.0", "8.6", "8.9"),
        user_allocation=True,
    ),
}


def members(version: str, name: str) -> set[str] | None:
    """The members of a class of that version; None where it has no such class."""
    found = TABLE["classes"].get(name)
    if found is None or version not in found["in"]:
        return None
    return {*found["always"], *(m for m, where in found["sometimes"].items() if version in where)}


def exists(version: str, name: str) -> bool:
    """Whether 'Class' or 'Class.member' is in the bindings of ``version``."""
    owner, _, member = name.partition(".")
    found = members(version, owner)
    return found is not None and (not member or member in found)


def module_uses(source: str) -> Iterator[str]:
    """'Class' or 'Class.MEMBER' for every attribute of TensorRT's module that ``source`` names."""
    tree = ast.parse(source)
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        parts: list[str] = []
        rest: ast.expr = node
        while isinstance(rest, ast.Attribute) and rest.attr != "module":
            parts.insert(0, rest.attr)
            rest = rest.value
        if isinstance(rest, ast.Attribute) or (isinstance(rest, ast.Name) and rest.id == "trt"):
            public = [part for part in parts[:2] if not part.startswith("__")]
            if public:
                yield ".".join(public)


def object_uses(source: str) -> Iterator[str]:
    """'Class.member' for every member that the types of TensorRT's objects declare."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or node.name == "Member":
            continue
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef):
                yield f"{node.name}.{inner.name}"
            elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                yield f"{node.name}.{inner.target.id}"


def uses() -> set[str]:
    """All that we name of TensorRT."""
    sources = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.py")}
    named = {use for source in sources.values() for use in module_uses(source)}
    return named | set(object_uses(sources["objects.py"]))


def asked_for() -> set[str]:
    """The names that `features` asks for, and the classes that they are of."""
    found = set()
    for node in ast.walk(ast.parse((FOLDER / "api.py").read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "has":
            (name,) = node.args
            assert isinstance(name, ast.Constant)
            found |= {str(name.value), str(name.value).partition(".")[0]}
    return found


def missing(version: str, names: set[str], asked: set[str]) -> set[str]:
    """The names that ``version`` lacks though nobody asks for them."""
    return {name for name in names - asked if not exists(version, name)}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_we_call_exists(version: str) -> None:
    """In every version, or `features` asks for it."""
    assert missing(version, uses(), asked_for()) == set()


def test_what_is_asked_for_exists_somewhere() -> None:
    """A name that no version has would be asked for in vain."""
    for name in asked_for():
        assert any(exists(version, name) for version in VERSIONS), name


def test_uses_are_found() -> None:
    """The walks see the module's attributes and the objects' members."""
    found = uses()
    assert found >= {
        "Builder", "OnnxParser", "LayerType.ATTENTION_INPUT", "BuilderFlag.TF32",
        "IBuilderConfig.set_flag", "INetworkDefinition.num_layers", "IStreamWriter",
    }  # fmt: skip
    assert len(found) > 40


@pytest.mark.parametrize(
    "source",
    [
        "trt.BuilderFlag.FP16",
        "tensorrt.module.BuilderFlag.INT8",
        "trt.Builder(log).platform_has_fast_int8; x = trt.IAlgorithm",
        "class A(trt.IInt8Calibrator): pass",
    ],
)
def test_the_check_finds(source: str) -> None:
    """Each of these is not in TensorRT 11, and is noticed."""
    assert missing("11.4", set(module_uses(source)), asked_for())


def test_the_check_finds_members() -> None:
    """A declared member that only TensorRT-RTX has, and nobody asks for, is noticed."""
    names = set(object_uses("class ICudaEngine(Protocol):\n    weights_loaded: bool\n"))
    assert missing("11.4", names, asked_for()) == {"ICudaEngine.weights_loaded"}
    assert missing("rtx-1.7", names, asked_for()) == set()


def bindings(version: str) -> SimpleNamespace:
    """A module with the classes and members that the table has; an enum's members are numbers."""
    made = {}
    for name in TABLE["classes"]:
        known = members(version, name)
        if known is not None:
            numbers: Mapping[str, Any] = dict.fromkeys(sorted(known), 1)
            made[name] = type(name, (), {**numbers, "__members__": numbers})
    return SimpleNamespace(**made)


@pytest.mark.parametrize("version", VERSIONS)
def test_features(version: str) -> None:
    """What each version is found to have."""
    assert features(bindings(version)) == FEATURES[version]


def test_wheels_are_named() -> None:
    """Every version has its source: a wheel and its hash."""
    assert set(FEATURES) == set(VERSIONS)
    for wheel in TABLE["wheels"].values():
        assert wheel["wheel"].endswith(".whl")
        assert len(bytes.fromhex(wheel["sha256"])) == 32


def test_the_table_is_of_the_bindings() -> None:
    """The table has what the installed TensorRT-RTX has, if it is of a recorded version."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")
    version = "rtx-" + ".".join(trt.__version__.split(".")[:2])
    if version not in VERSIONS:
        pytest.skip(f"TensorRT-RTX {trt.__version__} is not in the table")
    for name in TABLE["classes"]:
        known, recorded = getattr(trt, name, None), members(version, name)
        assert (known is None) == (recorded is None), name
        if recorded is not None:
            assert recorded <= {
                *dir(known),
                *getattr(known, "Severity", SimpleNamespace()).__dict__,
            }


def test_what_tensorrt_rtx_builds_for() -> None:
    """The runtime's advice for GPUs that TensorRT-RTX does not support uses the same list."""
    found = FEATURES["rtx-1.7"].capabilities
    assert set(RTX_CAPABILITIES) == set(found)
    assert not built_by_rtx("9.0")
    assert not built_by_rtx("8.7")
