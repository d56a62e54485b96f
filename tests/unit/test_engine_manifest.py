"""What an engine's ``manifest.json`` may say: exactly what the schema declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bundle import Bundle
from janus_edge.engine_manifest import (
    ENGINE_SCHEMA_VERSION,
    BuiltFrom,
    EngineManifest,
    GraphBuild,
    LanguagePlan,
    PassReport,
    Profile,
    Range,
)
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph

Data = dict[str, Any]


@pytest.fixture(scope="module")
def text(tiny_bundle: Path) -> str:
    bundle = Bundle.open(tiny_bundle).manifest
    fields = {
        name: getattr(bundle, name)
        for name in ("config", "special_tokens", "recipe", "graphs", "tokenizer",
                     "text_embeddings", "source", "files")
    }  # fmt: skip
    build = GraphBuild(10, None, {"skip_norm": PassReport(1, ("a: b",))})
    ranges = Profile(Range(1, 2, 8), Range(1, 1, 512), Range(64, 640, 1024))
    file = bundle.graphs["language_model"].file
    plan = LanguagePlan("language_model", file, (ranges,), build)
    return EngineManifest(
        schema_version=ENGINE_SCHEMA_VERSION, tools={"onnxruntime": "1.31.1"}, parity={},
        kind="engine", key="0" * 64, bundle=BuiltFrom("d", "/b"), target="ort-cpu",
        compute_capability=None, plans=(plan,), build_seconds=1.5,
        builds={graph.value: build for graph in Graph}, **fields,
    ).to_json()  # fmt: skip


@pytest.fixture
def data(text: str) -> Data:
    EngineManifest.from_json(text)  # as it is, it is good
    loaded: Data = json.loads(text)
    return loaded


def assert_refused(data: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        EngineManifest.from_json(json.dumps(data))
    assert str(caught.value).startswith("manifest.json: ")
    assert str(caught.value).endswith("; build the engine again")


def at(data: Any, path: str) -> tuple[Any, Any]:
    """The container and the key of a dotted path; numbers index lists."""
    *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    for part in way:
        data = data[part]
    return data, last


def test_round_trip(text: str) -> None:
    assert EngineManifest.from_json(text).to_json() == text


@pytest.mark.parametrize(
    "place",
    ["", "config.vq", "bundle", "plans.0", "plans.0.profiles.0", "plans.0.build", "builds.text_head",
     "builds.text_head.passes.skip_norm", "graphs.text_head"],
)  # fmt: skip
def test_unknown_key(data: Data, place: str) -> None:
    """An unknown key is refused at every depth, by name."""
    container, key = at({"": data}, f".{place}" if place else "")
    container[key]["surprise"] = 1
    assert_refused(data, r"unknown key '.*surprise'; known keys: ")


@pytest.mark.parametrize(
    "path",
    ["key", "bundle", "bundle.digest", "target", "compute_capability", "plans", "builds", "tools",
     "build_seconds", "builds.text_head.weight_bytes", "plans.0.file",
     "plans.0.profiles.0.capacity.largest", "config"],
)  # fmt: skip
def test_missing_key(data: Data, path: str) -> None:
    container, key = at(data, path)
    del container[key]
    assert_refused(data, f"missing key '.*{key}'")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("target", None, "target: expected str"),
        ("compute_capability", 87, "compute_capability: expected str"),
        ("build_seconds", -1, "build_seconds must be finite and not negative"),
        ("builds", {}, "'builds' must tell of every graph"),
        ("builds.text_head.weight_bytes", -1, "must not be negative"),
        ("builds.text_head.workspace_bytes", -1, "must not be negative"),
        ("builds.text_head.device_weight_bytes", -1, "must not be negative"),
        ("plans.0.profiles.0.rows.smallest", 3, "found 3, 2, 8"),
        ("plans.0.profiles.0.rows.smallest", 0, "found 0, 2, 8"),
        ("plans.0.profiles", [], "the profiles of a plan must have one capacity"),
        ("plans.0.name", "../x", "is not a valid plan name"),
        ("plans.0.file", "/etc/passwd", "is not a relative path"),
        ("plans.0.file", "graphs/none", "'graphs/none' is used but not listed"),
        ("plans.0.file", "tokenizer.json", "the first plan must be 'graphs/language_model.onnx'"),
        ("files", {}, "'files' is missing or empty"),
        ("graphs.text_head.file", "../x", "leaves the bundle's folder"),
        ("graphs.text_head.weights", ["/etc/passwd"], "not a relative path"),
        ("graphs.text_head.inputs", [], "has other inputs or outputs"),
    ],
)
def test_wrong_value(data: Data, path: str, value: Any, message: str) -> None:
    container, key = at(data, path)
    container[key] = value
    assert_refused(data, message)


def test_infinite_time(text: str) -> None:
    """JSON has no infinity, but numbers that are too large for a float."""
    with pytest.raises(EngineError, match="build_seconds must be finite"):
        EngineManifest.from_json(text.replace('"build_seconds": 1.5', '"build_seconds": 1e999'))


@pytest.mark.parametrize("kind", ["bundle", "", None, 1, ["engine"]])
def test_other_kinds(data: Data, kind: Any) -> None:
    with pytest.raises(EngineError, match="is of kind .*, and an engine is needed"):
        EngineManifest.from_json(json.dumps({**data, "kind": kind}))


def test_newer_version(data: Data) -> None:
    newer = {**data, "schema_version": ENGINE_SCHEMA_VERSION + 1, "surprise": 1}
    with pytest.raises(EngineError, match="upgrade janus-edge, or build the engine again with"):
        EngineManifest.from_json(json.dumps(newer))
    assert_refused({**data, "schema_version": 0}, "schema_version must be")


def further(data: Data, **changes: Any) -> Data:
    """Return the manifest with one more plan: the first one with ``changes`` and another capacity."""
    plan = json.loads(json.dumps(data["plans"][0]))
    capacity = changes.pop("capacity", 2048)
    for profile in plan["profiles"]:
        profile["capacity"] = {"smallest": capacity, "typical": capacity, "largest": capacity}
        profile.update(changes.pop("profile", {}))
    return {**data, "plans": [*data["plans"], {**plan, "name": "more", **changes}]}


def test_several_plans(data: Data) -> None:
    """A cache takes the smallest capacity that holds its positions."""
    found = EngineManifest.from_json(json.dumps(further(data)))
    assert found.capacities == (1024, 2048)
    assert [found.capacity_for(n) for n in (1, 1024, 1025, 2048, 2049)] == [
        1024, 1024, 2048, 2048, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "language_model"}, "two plans have the same name"),
        ({"capacity": 64}, "the capacities of the plans must increase"),
        (
            {"profile": {"rows": {"smallest": 1, "typical": 1, "largest": 1}}},
            "all plans must have the same rows",
        ),
    ],
)
def test_plans_that_do_not_go_together(data: Data, changes: Any, message: str) -> None:
    """Plans are refused if one of them could not use a cache of another."""
    assert_refused(further(data, **changes), message)
