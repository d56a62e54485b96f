"""A checkpoint's language model for llama.cpp, Q4_0 and Q8_0 by llama.cpp's own quantiser.

    work/peers/llama-cpp/bin/python benchmarks/peers/speed/llama_cpp_convert.py CHECKPOINT FOLDER

llama.cpp knows Llama, not Janus: its tokens are here the 16384 codes of a picture. Their embeddings are
those behind the generation aligner, and its output matrix is the last one of the image head; the head's
first matrix and GELU (4 million of 1.3 thousand million weights) are left out, in llama.cpp's favour.
Embeddings stay in float16, of which a step reads two rows. Vision encoder and VQ model have no place.
"""

from __future__ import annotations

import argparse
import ctypes
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from checkpoint_reader import CheckpointReader
from gguf import GGUFWriter
from image_head import code_embeddings
from numpy.typing import NDArray
from rotary_pairs import paired
from work import Work

KINDS = {"q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}
_FLOAT16 = 1  # GGML_TYPE_F16
#: GGUF's names of a layer's weights.
_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    half = given.folder / "f16.gguf"
    if all((given.folder / f"{name}.gguf").exists() for name in KINDS):
        return
    if not half.exists():
        write(Work.of(given.checkpoint, 2), CheckpointReader(given.checkpoint), half)
    for name, kind in KINDS.items():
        target = given.folder / f"{name}.gguf"
        if target.exists():
            continue
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.ftype = kind
        settings.token_embedding_type = _FLOAT16
        paths = (str(half).encode(), str(target).encode())
        if llama_cpp.llama_model_quantize(*paths, ctypes.byref(settings)):
            raise SystemExit(f"{target}: llama.cpp cannot quantise {half}")
    half.unlink()


def write(work: Work, read: CheckpointReader, path: Path) -> None:
    """The language model in float16; tensors go through a temporary file, one at a time."""
    writer = GGUFWriter(path, "llama", use_temp_file=True)
    writer.add_block_count(work.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(work.hidden)
    writer.add_feed_forward_length(work.intermediate)
    writer.add_head_count(work.heads)
    writer.add_head_count_kv(work.kv_heads)
    writer.add_layer_norm_rms_eps(work.epsilon)
    writer.add_rope_dimension_count(work.head_dim)
    writer.add_rope_freq_base(work.rope_theta)
    writer.add_vocab_size(work.codebook)
    writer.add_tokenizer_model("no_vocab")
    writer.add_tensor("token_embd.weight", code_embeddings(read).astype(np.float16))
    writer.add_tensor(
        "output.weight", read("model.generation_head.vision_head.weight").astype(np.float16)
    )
    stem = "model.language_model"
    writer.add_tensor("output_norm.weight", read(f"{stem}.norm.weight"))
    for index in range(work.layers):
        for theirs, ours in _LAYER.items():
            values: NDArray[Any] = read(f"{stem}.layers.{index}.{theirs}.weight")
            if ours in ("attn_q", "attn_k"):
                values = paired(values, work.head_dim)
            if values.ndim == 2:
                values = values.astype(np.float16)
            writer.add_tensor(f"blk.{index}.{ours}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
