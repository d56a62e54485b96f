"""A checkpoint as OpenVINO models, with integer weights, after OpenVINO's notebook on Janus-Pro.

    work/peers/openvino/bin/python benchmarks/peers/speed/openvino_convert.py CHECKPOINT FOLDER

As the notebook has it (openvino_notebooks, janus-multimodal-generation): a model per part, traced from
PyTorch; the language model takes embeddings, keeps its cache as a state in float16 and alone has its
weights compressed by nncf; the others are saved in float16. Differences: transformers' modules in the
place of the deepseek-ai package's, which is not in the package index, and three kinds of weights:

    int4      the notebook's own: asymmetric, groups of 64, every layer
    int4-128  symmetric, groups of 128, and the cache in the type that OpenVINO prefers by itself
    int8      nncf's default of 8 bits, a scale per output channel
    float     not compressed: float16 in the file, to check that the conversion is right
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from openvino._offline_transformations import apply_make_stateful_transformation
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration

COMPRESSION: dict[str, dict[str, Any] | None] = {
    "int4": {"mode": nncf.CompressWeightsMode.INT4_ASYM, "group_size": 64, "ratio": 1.0},
    "int4-128": {"mode": nncf.CompressWeightsMode.INT4_SYM, "group_size": 128, "ratio": 1.0},
    "int8": {"mode": nncf.CompressWeightsMode.INT8_ASYM},
    "float": None,
}


class GrowingCache:
    """What transformers' attention asks of a cache: the past with the new behind it.

    transformers' own starts from tensors without a shape, which OpenVINO cannot convert.
    """

    def __init__(self, past: tuple[Tensor, ...]) -> None:
        self.present = list(past)

    def update(
        self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        place = 2 * layer
        self.present[place] = torch.cat([self.present[place], key], 2)
        self.present[place + 1] = torch.cat([self.present[place + 1], value], 2)
        return self.present[place], self.present[place + 1]


class LanguageModel(nn.Module):
    """The decoder layers with a cache that comes in and goes out, [B, heads, past, D] each."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def forward(
        self, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        cache = GrowingCache(past)
        new, total = inputs_embeds.shape[1], attention_mask.shape[1]
        seen = torch.arange(total)[None] <= torch.arange(new)[:, None] + past[0].shape[2]
        allowed = seen[None, None] & attention_mask[:, None, None].bool()
        mask = torch.where(allowed, 0.0, torch.finfo(torch.float32).min)
        rotary = self.model.rotary_emb(inputs_embeds, position_ids)
        x = inputs_embeds
        for layer in self.model.layers:
            x = layer(
                x, attention_mask=mask, position_embeddings=rotary, past_key_values=cache, use_cache=True
            )  # fmt: skip
        return (self.model.norm(x), *cache.present)


class Called(nn.Module):
    """A function of a module, as a module."""

    def __init__(self, owner: nn.Module, function: Any) -> None:
        super().__init__()
        self.owner, self.function = owner, function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--weights", nargs="+", choices=COMPRESSION, default=["int4", "int4-128", "int8"]
    )
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    model = JanusForConditionalGeneration.from_pretrained(given.checkpoint, dtype=torch.float32)
    model.eval()
    _parts(model, given.folder)
    wanted = [w for w in given.weights if not (given.folder / f"language_model-{w}.xml").exists()]
    if not wanted:
        return
    language_model = model.model.language_model
    language_model.embed_tokens = None
    del model
    gc.collect()
    plain = _converted(language_model)
    for weights in wanted:
        converted = plain.clone()  # its weights stay the same memory
        _make_stateful(converted)
        if weights != "int4-128":
            converted.set_rt_info("f16", ["runtime_options", "KV_CACHE_PRECISION"])
        compression = COMPRESSION[weights]
        if compression:
            converted = nncf.compress_weights(converted, **compression)
        ov.save_model(converted, given.folder / f"language_model-{weights}.xml")
        del converted
        gc.collect()


def _parts(model: Any, folder: Path) -> None:
    """Everything but the language model, each in float16; parts that are there are left."""
    inner, config = model.model, model.config
    hidden, size = config.text_config.hidden_size, config.vision_config.image_size
    codes = torch.ones((1, config.vision_config.num_image_tokens), dtype=torch.int64)
    parts = {
        "vision": (lambda x: inner.aligner(inner.vision_model(x).last_hidden_state), inner,
                   torch.randn(1, 3, size, size)),
        "gen_head": (inner.generation_head, inner.generation_head, torch.ones(2, hidden)),
        "gen_embeddings": (model.prepare_embeddings_for_image_generation, inner, torch.ones(2, dtype=torch.int64)),
        "gen_decoder": (inner.vqmodel.decode, inner.vqmodel, codes),
    }  # fmt: skip
    for name, (function, owner, example) in parts.items():
        target = folder / f"{name}.xml"
        if not target.exists():
            with torch.no_grad():
                converted = ov.convert_model(Called(owner, function), example_input=(example,))
            ov.save_model(converted, target)


def _converted(language_model: Any) -> ov.Model:
    config = language_model.config
    heads, depth = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
    past = [torch.randn(2, heads, 3, depth) for _ in range(2 * config.num_hidden_layers)]
    embeds, mask = torch.randn(2, 2, config.hidden_size), torch.ones(2, 5, dtype=torch.int64)
    example = (embeds, mask, torch.tensor([[3, 4], [3, 4]]), *past)
    with torch.no_grad():
        model = ov.convert_model(LanguageModel(language_model), example_input=example)
    layers = [f"{i}.{part}" for i in range(config.num_hidden_layers) for part in ("key", "value")]
    names = ["inputs_embeds", "attention_mask", "position_ids", *(f"past.{n}" for n in layers)]
    shapes = [
        [-1, -1, config.hidden_size],
        [-1, -1],
        [-1, -1],
        *[[-1, heads, -1, depth]] * len(layers),
    ]
    for port, name, shape in zip(model.inputs, names, shapes, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(ov.PartialShape(shape))
    for port, name in zip(
        model.outputs, ["hidden", *(f"present.{n}" for n in layers)], strict=True
    ):
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    return model


def _make_stateful(model: ov.Model) -> None:
    """Turn past and present into a state, with the input beam_idx that OpenVINO's fusion looks for."""
    rows = ops.parameter([-1], np.int32, name="beam_idx")
    rows.output(0).get_tensor().set_names({"beam_idx"})
    model.add_parameters([rows])
    pairs = {}
    for port in list(model.inputs):
        name = port.get_any_name()
        if not name.startswith("past."):
            continue
        readers = port.get_target_inputs()
        picked = ops.gather(port, rows, ops.constant(0))
        for reader in readers:
            reader.replace_source_output(picked.output(0))
        pairs[name] = name.replace("past.", "present.")
    model.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(model, pairs)
    batch = ops.gather(
        ops.shape_of(model.input("inputs_embeds"), output_type="i64"),
        ops.constant([0]),
        ops.constant(0),
    )
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            shape = node.get_output_partial_shape(0)
            heads, depth = shape[1].get_length(), shape[3].get_length()
            sizes = [batch, *(ops.constant(np.array([n], np.int64)) for n in (heads, 0, depth))]
            zero = ops.constant(0.0, dtype=np.float32)
            node.set_arguments([ops.broadcast(zero, ops.concat(sizes, 0))])
    model.validate_nodes_and_infer_types()


if __name__ == "__main__":
    main()
