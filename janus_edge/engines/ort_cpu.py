"""The target `ort-cpu`: graphs rewritten into what ONNX Runtime's CPU provider runs best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir

from janus_edge import __version__
from janus_edge.bundle import Bundle
from janus_edge.engine_manifest import GraphBuild, Profile
from janus_edge.engines.build import BuiltGraph, check_recipe, copy_file
from janus_edge.engines.lowering import (
    channels_last,
    group_query_attention,
    joined_projections,
    primitive_group_norm,
    skip_norm,
    unsigned_activations,
)
from janus_edge.engines.lowering.lowered_file import lower_graph, weight_bytes, write_graph
from janus_edge.engines.lowering.passes import Pass, load
from janus_edge.engines.parity_feeds import seeded_feeds
from janus_edge.engines.prepacking import prepack
from janus_edge.errors import DependencyError
from janus_edge.graphs import Graph
from janus_edge.manifest import GraphEntry
from janus_edge.processor import EXACT, INT8_PRODUCTS, SATURATING, int8_products, processor
from janus_edge.progress import Row
from janus_edge.recipe import Recipe

#: The language model's, in order. Joined queries, keys and values go packed into the attention; a
#: recipe may give them different schemes, and then they stay apart.
LANGUAGE_MODEL = (
    Pass("joined_projections", joined_projections.rewrite, expected=False),
    Pass("group_query_attention", group_query_attention.rewrite),
    Pass("skip_norm", skip_norm.rewrite),
)

#: The VQ graphs'. ONNX Runtime has no kernel for GroupNormalization and computes its definition, a
#: dozen operators, which takes twice as long.
VQ = (Pass("group_norm", primitive_group_norm.rewrite),)

#: In every graph of a recipe with int8 inputs; which nodes have them is its rules'. Before the VQ graphs'
#: own, and behind the language model's, whose joined projections share one quantised input.
INT8_INPUTS = {
    products: (
        Pass("unsigned_activations", unsigned_activations.rewrite, expected=False),
        Pass("channels_last", convolutions, expected=False),
    )
    for products, convolutions in (
        (EXACT, channels_last.rewrite), (SATURATING, channels_last.rewrite_unsigned),
    )
}  # fmt: skip


class OrtCpu:
    """Builds for ONNX Runtime's CPU provider; the graphs take any shape, as a bundle's do.

    With ``prepack`` weights are laid out as the kernels of this machine's processor read them
    (`prepacking.py`), which ties the engine to its instructions and to this very ONNX Runtime.
    """

    name = "ort-cpu"
    compute_capability = None
    profiles: tuple[Profile, ...] = ()

    def __init__(self, *, prepack: bool = False) -> None:
        self.options = {"prepack": ""} if prepack else {}

    def passes(self, graph: Graph, recipe: Recipe) -> tuple[Pass, ...]:
        """The rewrites of ``graph`` in a bundle of ``recipe``, in order."""
        int8_inputs = INT8_INPUTS[int8_products()] if recipe.int8_inputs else ()
        match graph:
            case Graph.LANGUAGE_MODEL:
                return (*LANGUAGE_MODEL, *int8_inputs)
            case Graph.VQ_ENCODER | Graph.VQ_DECODER:
                return (*int8_inputs, *(replace(p, expected=not int8_inputs) for p in VQ))
        return int8_inputs

    def tools(self) -> dict[str, str]:
        """Versions of janus-edge, of what rewrites the graphs, and of what will run them; what this
        processor's products of integers are, and all of it where weights are laid out for it."""
        try:
            import onnxruntime
        except ImportError as missing:
            raise DependencyError.missing("onnxruntime", "cpu") from missing
        return {
            "janus-edge": __version__,
            "onnx": onnx.__version__,
            "onnx-ir": ir.__version__,
            "onnxruntime": onnxruntime.__version__,
            INT8_PRODUCTS: int8_products(),
            **({"processor": processor()} if self.options else {}),
        }

    def check(self, bundle: Bundle) -> None:
        """Raise EngineError for bfloat16 graphs, and for fp8 and nvfp4 weights."""
        check_recipe(self.name, bundle)

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        """Rewrite ``graph`` and write it; one that no pass changes is copied as it is."""
        built = self._rewrite(bundle, graph, folder, row)
        if not self.options:
            return built
        row.state("prepack")
        recipe, config = bundle.manifest.recipe, bundle.manifest.config
        feeds = seeded_feeds(graph, config, recipe.float_type, inputs=built.entry.inputs)
        return replace(built, entry=prepack(built.entry, folder, feeds, quantised=recipe.quantised))

    def _rewrite(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        row.state("rewrite")
        entry = bundle.manifest.graphs[graph.value]
        model = load(bundle.graph(graph))
        before = weight_bytes(model)
        passes = lower_graph(model, graph.value, self.passes(graph, bundle.manifest.recipe))
        if not any(report.changed for report in passes.values()):
            row.state("copy")
            for name in (entry.file, *entry.weights):
                copy_file(bundle, name, folder)
            return BuiltGraph(entry, GraphBuild(before, None, passes))
        row.state("write")
        files = write_graph(model, folder / "graphs" / f"{graph.value}.onnx")
        written = tuple(file.relative_to(folder).as_posix() for file in files)
        lowered = GraphEntry(written[0], written[1:], entry.inputs, entry.outputs)
        return BuiltGraph(lowered, GraphBuild(weight_bytes(model), None, passes))
