"""What ``manifest.json`` may say: exactly what the schema declares, and nothing that contradicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from janus_edge.errors import BundleError, BundleVersionError
from janus_edge.graphs import Graph
from janus_edge.manifest import SCHEMA_VERSION, Manifest, check_relative

Data = dict[str, Any]


@pytest.fixture(scope="module")
def text(tiny_bundle: Path) -> str:
    return (tiny_bundle / "manifest.json").read_text("utf-8")


@pytest.fixture
def data(text: str) -> Data:
    Manifest.from_json(text)  # as it is, it is good
    loaded: Data = json.loads(text)
    return loaded


def assert_refused(data: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Manifest.from_json(json.dumps(data))
    assert str(caught.value).startswith("manifest.json")
    assert "export the bundle again" in str(caught.value)


def at(data: Any, path: str) -> tuple[Any, Any]:
    """The container and the key of a dotted path; numbers index lists."""
    *way, last = [int(p) if p.isdigit() else p for p in path.replace("\\.", "\0").split(".")]
    for part in way:
        data = data[part.replace("\0", ".") if isinstance(part, str) else part]
    return data, last.replace("\0", ".") if isinstance(last, str) else last


def test_round_trip(text: str) -> None:
    """Writing what was read gives the same text."""
    assert Manifest.from_json(text).to_json() == text


@pytest.mark.parametrize(
    "place",
    [
        "", "config", "config.vision", "config.vq", "config.language", "special_tokens", "recipe",
        "graphs.text_head", "graphs.text_head.inputs.0", "text_embeddings", "source",
        "parity.vq_encoder", "files.tokenizer\\.json",
    ],
)  # fmt: skip
def test_unknown_key(data: Data, place: str) -> None:
    """An unknown key is refused at every depth, by name."""
    container, key = at({"": data}, f".{place}" if place else "")
    container[key]["surprise"] = 1
    assert_refused(data, r"unknown key '.*surprise'; known keys: ")


@pytest.mark.parametrize(
    "path",
    [
        "config", "config.vision.layers", "config.language", "special_tokens.pad", "recipe",
        "recipe.float_type", "graphs", "graphs.vq_decoder.outputs", "graphs.text_head.inputs.0.dtype",
        "tokenizer", "text_embeddings.shape", "source.digest", "tools", "parity",
        "parity.vision_encoder.tolerance", "files.tokenizer\\.json.sha256",
    ],
)  # fmt: skip
def test_missing_key(data: Data, path: str) -> None:
    """A missing key is refused, with its path."""
    container, key = at(data, path)
    del container[key]
    assert_refused(data, f"missing key '.*{key}'")


@pytest.mark.parametrize("files", [None, {}])
def test_no_files(data: Data, files: Any) -> None:
    """A manifest that lists no files would let any file through, so it is refused."""
    if files is None:
        del data["files"]
    else:
        data["files"] = files
    assert_refused(data, "'files' is missing or empty")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("config", [], "config: expected an object, found list"),
        ("config.vision.layers", "2", r"config\.vision\.layers: expected int, found str"),
        ("config.vision.layers", 2.5, r"config\.vision\.layers: expected int, found float"),
        ("config.language.heads", True, r"config\.language\.heads: expected int, found bool"),
        ("config.language.rope_theta", 10**400, r"rope_theta: too large for a float"),
        ("config.language.layers", 0, "config.language: layers must be positive, found 0"),
        ("config.language.layers", 10**12, "1000000000000 layers, but 6 inputs for them"),
        ("config.language.kv_heads", 3, "4 heads cannot share 3 key-value heads"),
        ("special_tokens.bos", None, r"special_tokens\.bos: expected int, found NoneType"),
        ("recipe.float_type", "float64", "float_type must be float32, float16 or bfloat16"),
        ("graphs", [], "graphs: expected an object"),
        ("graphs.text_head.inputs.0.shape.0", True, r"shape\[0\]: expected int, found bool"),
        ("graphs.text_head.weights", "w", r"weights: expected a list, found str"),
        ("tokenizer", 3, "tokenizer: expected str"),
        ("text_embeddings.dtype", "object", "dtype must be float32, float16 or bfloat16"),
        ("text_embeddings.shape", [511, 64], r"text_embeddings has shape \(511, 64\)"),
        ("tools.torch", 2, r"tools\.torch: expected str, found int"),
        ("files.tokenizer\\.json.size", "1", r"size: expected int, found str"),
        ("files.tokenizer\\.json", 1, r"files\.tokenizer\.json: expected an object"),
    ],
)
def test_wrong_value(data: Data, path: str, value: Any, message: str) -> None:
    """A value of another type, or one that no Janus can have, is refused, with its path."""
    container, key = at(data, path)
    container[key] = value
    assert_refused(data, message)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "expected an object, found NoneType"),
        ({"measure": "snr_db"}, "missing key 'parity.text_head.tolerance'"),
        ({"measure": "luck", "tolerance": 1, "max_abs": 1, "mean_abs": 1}, "measure must be"),
        ({"measure": "snr_db", "tolerance": 1, "max_abs": 1, "mean_abs": 1}, "snr_db decides"),
        ({"measure": "max_abs", "tolerance": "1", "max_abs": 1, "mean_abs": 1}, "expected float"),
    ],
)
def test_malformed_parity(data: Data, entry: Any, message: str) -> None:
    """Parity figures that no verdict can rest on are refused."""
    data["parity"]["text_head"] = entry
    assert_refused(data, message)


@pytest.mark.parametrize("graph", Graph)
def test_missing_graph(data: Data, graph: Graph) -> None:
    """A bundle has all graphs."""
    del data["graphs"][graph.value]
    assert_refused(data, f"graph '{graph.value}' is missing")


def test_unknown_graph(data: Data) -> None:
    """A graph that the table does not know is refused."""
    data["graphs"]["text_tail"] = data["graphs"]["text_head"]
    assert_refused(data, "unknown graph 'text_tail'")


def _rename(port: Data) -> None:
    port["name"] = "other"


def _retype(port: Data) -> None:
    port["dtype"] = "float32" if port["dtype"] == "int64" else "int64"


def _reshape(port: Data) -> None:
    port["shape"] = [*port["shape"], 2]


@pytest.mark.parametrize("change", [_rename, _retype, _reshape])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("graph", Graph)
def test_other_ports(data: Data, graph: Graph, side: str, change: Callable[[Data], None]) -> None:
    """Inputs and outputs must be those that the dimensions ask for."""
    change(data["graphs"][graph.value][side][0])
    assert_refused(data, f"graph '{graph.value}' has other inputs or outputs")


def test_a_cache_of_another_type(data: Data) -> None:
    """The cache's ports are of the type that the recipe says."""
    data["recipe"]["cache"] = "int8"
    assert_refused(data, "graph 'language_model' has other inputs or outputs")
    entry = data["graphs"]["language_model"]
    for port in (*entry["inputs"][2:], *entry["outputs"][2:]):
        port["dtype"] = "int8"
    assert Manifest.from_json(json.dumps(data)).recipe.bytes_per_cached == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [("config.language.layers", 1), ("config.vq.codebook_size", 64), ("config.vision.patch_size", 16)],
)  # fmt: skip
def test_other_dimensions(data: Data, path: str, value: int) -> None:
    """Dimensions that are possible, but not those of the graphs, are refused."""
    container, key = at(data, path)
    container[key] = value
    assert_refused(data, "has other inputs or outputs|Janus needs them equal")


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 10**30])
def test_newer_version(data: Data, version: int) -> None:
    """A newer schema asks for a newer janus-edge, even if nothing else can be read."""
    for newer in ({**data, "schema_version": version}, {"schema_version": version, "new": 1}):
        with pytest.raises(BundleVersionError, match=f"version {version}; .* upgrade janus-edge"):
            Manifest.from_json(json.dumps(newer))


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.5, [1], True])
def test_absurd_version(data: Data, version: Any) -> None:
    """Any other version is no version."""
    assert_refused({**data, "schema_version": version}, "schema_version")


def test_no_version(data: Data) -> None:
    del data["schema_version"]
    assert_refused(data, "schema_version must be 1, found None")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\ufeff{}", "not JSON"),
        ('{"schema_version": NaN}', "not JSON .NaN"),
        ('{"schema_version": -Infinity}', "not JSON .-Infinity"),
        (f'{{"schema_version": {"1" * 5000}}}', "not JSON"),
        ("[" * 200_000, "not JSON"),
        ('{"schema_version": 1}garbage', "not JSON"),
        ("null", "expected an object, found NoneType"),
        ("[1]", "expected an object, found list"),
        ('"schema_version"', "expected an object, found str"),
    ],
)
def test_not_a_json_object(text: str, message: str) -> None:
    """What is not a JSON object is refused as such."""
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(text)


BAD_PATHS = [
    "/etc/passwd", "../x", "graphs/../../x", "graphs/..", "..", "..\\x", "graphs\\x.onnx", "C:/x",
    "C:\\x", "C:x", "\\\\host\\share", "//host/share", "file:///x", "", ".", "./.", "a\0b",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_check_relative(path: str) -> None:
    """Absolute paths, ``..``, backslashes, drive letters and the empty path are refused."""
    with pytest.raises(ValueError, match=r"not a relative path|leaves the bundle's folder"):
        check_relative(path)


@pytest.mark.parametrize("path", ["a", "a/b.c", "a..b", "...", "a b/ü", ".hidden"])
def test_check_relative_lets_names_be(path: str) -> None:
    """Dots within a name and any other letters are nothing wrong."""
    check_relative(path)


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("place", ["files", "file", "weights", "tokenizer", "text_embeddings"])
def test_paths_are_checked_everywhere(data: Data, place: str, path: str) -> None:
    """No path of the manifest leaves the folder, wherever it stands."""
    entry = data["files"]["tokenizer.json"]
    data["files"][path] = entry
    if place == "file":
        data["graphs"]["text_head"]["file"] = path
    elif place == "weights":
        data["graphs"]["text_head"]["weights"].append(path)
    elif place == "tokenizer":
        data["tokenizer"] = path
    elif place == "text_embeddings":
        data["text_embeddings"]["file"] = path
    assert_refused(data, r"not a relative path|leaves the bundle's folder")
    if place != "files":
        del data["files"][path]
        assert_refused(data, r"not a relative path|leaves the bundle's folder")


@pytest.mark.parametrize("path", ["tokenizer.json", "graphs/text_head.onnx", "graphs/text_head.weights", "text_embeddings.bin"])  # fmt: skip
def test_used_files_are_listed(data: Data, path: str) -> None:
    """A file that is used must have a size and a hash."""
    del data["files"][path]
    assert_refused(data, f"'{path}' is used but not listed")
