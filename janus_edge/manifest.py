"""What a bundle's ``manifest.json`` says, and the checks that need no other file.

An engine's manifest says more (`engine_manifest.py`) and is read and checked by the same code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from janus_edge.compare import Difference
from janus_edge.config import JanusConfig, SpecialTokens
from janus_edge.errors import BundleError, BundleVersionError, JanusEdgeError
from janus_edge.graphs import Graph, Port, Signature, signature
from janus_edge.recipe import Recipe
from janus_edge.schema import from_dict, to_dict

if TYPE_CHECKING:
    from typing import Self

#: Rises when a manifest written by this version cannot be read by an older one.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of folder that has a manifest, and the words of the messages about it.

    ``version`` is the newest schema that is read, ``error`` is raised for a folder that cannot be
    used, ``newer`` (a subclass or the same) for one of a newer schema.
    """

    name: str
    article: str
    verb: str
    participle: str
    version: int
    error: type[JanusEdgeError]
    newer: type[JanusEdgeError]

    def __str__(self) -> str:
        return f"{self.article} {self.name}"

    def invalid(self, message: str) -> JanusEdgeError:
        """The error for a manifest that says what none can say."""
        return self.error(f"manifest.json: {message}; {self.verb} the {self.name} again")


BUNDLE = Kind("bundle", "a", "export", "exported", SCHEMA_VERSION, BundleError, BundleVersionError)


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """An ONNX file, the weight files that it refers to, and its inputs and outputs."""

    file: str
    weights: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A raw little-endian row-major table; bfloat16 is stored as its 16 bits."""

    file: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float16", "bfloat16"):
            raise ValueError(f"dtype must be float32, float16 or bfloat16, found {self.dtype!r}")


@dataclass(frozen=True, slots=True)
class Source:
    """The checkpoint that a bundle was made from; ``digest`` is a SHA-256 over its files."""

    name: str
    format: str
    digest: str


@dataclass(frozen=True, slots=True)
class Derivation:
    """The bundle that a quantised one was made from, by its digest.

    ``calibration`` is the SHA-256 of the calibration file, None without one.
    """

    parent: str
    calibration: str | None


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size in bytes and SHA-256 (hexadecimal) of a file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a reader of a bundle needs to know before opening a graph."""

    KIND: ClassVar[Kind] = BUNDLE

    schema_version: int
    config: JanusConfig
    special_tokens: SpecialTokens
    recipe: Recipe
    graphs: dict[str, GraphEntry]
    tokenizer: str
    text_embeddings: TableEntry
    source: Source
    tools: dict[str, str]
    parity: dict[str, Difference]
    files: dict[str, FileEntry] = field(default_factory=dict)
    derivation: Derivation | None = None

    def __post_init__(self) -> None:
        for path in self.files:
            check_relative(path)
        used = [self.tokenizer, self.text_embeddings.file]
        for entry in self.graphs.values():
            used += [entry.file, *entry.weights]
        for path in used:
            check_relative(path)
            if self.files and path not in self.files:
                raise ValueError(f"{path!r} is used but not listed under 'files'")
        unknown = [name for name in self.graphs if name not in {g.value for g in Graph}]
        if unknown:
            raise ValueError(f"unknown graph {unknown[0]!r}")
        missing = [graph.value for graph in Graph if graph.value not in self.graphs]
        if missing:
            raise ValueError(f"graph '{missing[0]}' is missing")
        # before `signature` writes the table of as many layers as a hostile manifest may ask for
        ports = len(self.graphs[Graph.LANGUAGE_MODEL.value].inputs)
        if self.config.language.layers > ports:
            raise ValueError(f"{self.config.language.layers} layers, but {ports} inputs for them")
        for graph in Graph:
            self._check_graph(graph)
        table = (self.config.language.vocab_size, self.config.language.hidden_size)
        if self.text_embeddings.shape != table:
            raise ValueError(f"text_embeddings has shape {self.text_embeddings.shape}, not {table}")

    def _check_graph(self, graph: Graph) -> None:
        entry = self.graphs[graph.value]
        wanted = self.ports_of(graph)
        if (entry.inputs, entry.outputs) != (wanted.inputs, wanted.outputs):
            raise ValueError(
                f"graph '{graph.value}' has other inputs or outputs than its dimensions ask for"
            )

    def ports_of(self, graph: Graph) -> Signature:
        """The inputs and outputs that ``graph`` must have."""
        return signature(graph, self.config, self.recipe.cache)

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        return json.dumps(to_dict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a manifest; raises its kind's error (BundleError) naming the offending key."""
        kind = cls.KIND
        try:
            data: Any = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as invalid:  # numbers of 5000 digits, deep nesting
            raise kind.invalid(f"not JSON ({invalid})") from invalid
        if not isinstance(data, dict):
            raise kind.invalid(f"expected an object, found {type(data).__name__}")
        found = data.get("kind", BUNDLE.name)  # bundles do not say what they are
        if found != kind.name:
            raise kind.error(
                f"manifest.json: is of kind {found!r}, and {kind} is needed; give the {kind.name} itself"
            )
        version = data.get("schema_version")
        if type(version) is int and version > kind.version:
            raise kind.newer(
                f"manifest.json has schema version {version}; this janus-edge reads up to "
                f"{kind.version}: upgrade janus-edge, or {kind.verb} the {kind.name} again with this version"
            )
        if version != kind.version:
            raise kind.invalid(f"schema_version must be {kind.version}, found {version!r}")
        manifest = from_dict(cls, data, error=kind.invalid)
        if not manifest.files:
            raise kind.invalid("'files' is missing or empty, so nothing could be checked")
        return manifest


def check_relative(path: str) -> None:
    """Raise ValueError unless ``path`` is a plain relative path with forward slashes."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or "\0" in path:
        raise ValueError(f"{path!r} is not a relative path with forward slashes")
    if ".." in path.split("/"):
        raise ValueError(f"{path!r} leaves the bundle's folder")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
