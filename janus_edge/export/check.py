"""The check that every graph passes before a bundle is sealed: the graph against PyTorch.

Inputs are real: the photograph that ships with the package, token embeddings of the checkpoint,
and what earlier stages make of them. Both sides run stage by stage and layer by layer, so that
checking needs no more memory than exporting.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from janus_edge.compare import Difference, code_difference, difference
from janus_edge.errors import ParityError
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.pieces import run_in_pieces
from janus_edge.export.pixels import read_pixels
from janus_edge.export.reference import Reference
from janus_edge.graphs import Graph, cache_names

Array = npt.NDArray[np.generic]

_GUIDANCE, _TEMPERATURE = 5.0, 1.0

#: Rows of the image-embedding table in one run of its check.
_TABLE_ROWS = 2048

#: Rows of unequal length, then a chunk, then one token: every way in which the language model is
#: called. (new tokens per row, of which valid in row 0 and row 1)
_CALLS = ((9, 9, 6), (4, 4, 3), (1, 1, 1))


class GraphChecker:
    """Compares the exported graphs of one checkpoint with PyTorch, one at a time."""

    def __init__(self, checkpoint: Checkpoint, float_type: str) -> None:
        self._config = checkpoint.config
        self._reference = Reference(checkpoint)
        self._float_type = float_type
        # bfloat16 graphs run widened (pieces.py), so their inputs are float32
        self._dtype = np.float16 if float_type == "float16" else np.float32
        self._generator = torch.Generator().manual_seed(0)
        self._hidden: Tensor | None = None

    def check(self, graph: Graph, path: Path) -> Difference:
        """Run ``graph`` from ``path`` and compare; raises ParityError beyond the tolerance."""
        checks: dict[Graph, Callable[[Path], Difference]] = {
            Graph.VISION_ENCODER: self._vision_encoder,
            Graph.VQ_ENCODER: self._vq_encoder,
            Graph.VQ_DECODER: self._vq_decoder,
            Graph.LANGUAGE_MODEL: self._language_model,
            Graph.TEXT_HEAD: self._text_head,
            Graph.IMAGE_HEAD: self._image_head,
            Graph.IMAGE_EMBEDDING: self._image_embedding,
            Graph.GUIDED_SAMPLER: self._guided_sampler,
        }
        result = checks[graph](path)
        self._require(graph.value, result)
        return result

    def _require(self, what: str, result: Difference) -> None:
        if not result:
            raise ParityError(
                f"{what} differs from PyTorch: {result.measure} is "
                f"{getattr(result, result.measure):.3g}, the tolerance for {self._float_type} is "
                f"{result.tolerance:g}. The bundle was not written; if the checkpoint's values "
                "overflow this precision, export with --precision fp32"
            )

    def _vision_encoder(self, path: Path) -> Difference:
        pixels = self._pixels()
        expected = self._reference.image_embeds(pixels)
        return self._difference(self._run(path, pixel_values=pixels)["image_embeds"], expected)

    def _vq_encoder(self, path: Path) -> Difference:
        pixels = self._pixels()
        cosines = self._reference.vq_cosines(pixels).numpy()
        codes = self._run(path, pixel_values=pixels)["image_codes"].astype(np.int64)
        return code_difference(codes, cosines.argmax(-1), cosines, self._float_type)

    def _vq_decoder(self, path: Path) -> Difference:
        codes = self._codes(1, self._config.image_tokens)
        expected = self._reference.vq_pixels(codes)
        return self._difference(self._run(path, image_codes=codes)["pixel_values"], expected)

    def _language_model(self, path: Path) -> Difference:
        self._rotary(path)
        lm = self._config.language
        valid = np.array([[call[1], call[2]] for call in _CALLS])
        lengths = valid.sum(0)
        embeds = self._sequence(int(lengths.max()))
        expected = self._reference.hidden_states(embeds)
        capacity = int(lengths.max()) + 8
        cache = np.zeros((2, lm.kv_heads, capacity, lm.head_dim), self._dtype)
        calls: list[dict[str, Array]] = []
        start = np.zeros(2, np.int64)
        for (new, *_), row_valid in zip(_CALLS, valid, strict=True):
            rows = [_padded(embeds[r, start[r] : start[r] + row_valid[r]], new) for r in range(2)]
            calls.append(
                {
                    "inputs_embeds": self._cast(torch.stack(rows)),
                    "past_lengths": start.copy(),
                    **dict.fromkeys(cache_names("past", lm.layers), cache),
                }
            )
            start += row_valid
        feed = dict(
            zip(cache_names("present", lm.layers), cache_names("past", lm.layers), strict=True)
        )
        results = run_in_pieces(path, calls, feed=feed)
        actual, wanted = [], []
        for result, call, row_valid in zip(results, calls, valid, strict=True):
            for row, count in enumerate(row_valid):
                first = call["past_lengths"][row]
                actual.append(result["hidden_states"][row, :count])
                wanted.append(expected[row, first : first + count])
        self._hidden = torch.cat(wanted)
        return self._difference(np.concatenate(actual), self._hidden)

    def _rotary(self, path: Path) -> None:
        """Every row of the rotary tables: the calls above reach the first positions only."""
        initializers = onnx.load(str(path), load_external_data=False).graph.initializer
        tables = {i.name: i for i in initializers if i.name.startswith("rotary_")}
        for name, expected in self._reference.rotary_tables().items():
            onnx.external_data_helper.load_external_data_for_tensor(tables[name], str(path.parent))
            table = onnx.numpy_helper.to_array(tables[name]).astype(np.float32)
            self._require(f"the table {name} of language_model", self._difference(table, expected))

    def _text_head(self, path: Path) -> Difference:
        hidden = self._hidden_states()
        expected = self._reference.text_logits(hidden)
        logits = self._run(path, hidden_states=hidden)["logits"]
        return self._difference(logits, expected, logits=True)

    def _image_head(self, path: Path) -> Difference:
        hidden = self._hidden_states()
        expected = self._reference.image_logits(hidden)
        logits = self._run(path, hidden_states=hidden)["logits"]
        return self._difference(logits, expected, logits=True)

    def _image_embedding(self, path: Path) -> Difference:
        """Every row of the table, some at a time to bound the memory; the worst part counts."""
        worst: Difference | None = None
        size = self._config.vq.codebook_size
        for start in range(0, size, _TABLE_ROWS):
            codes = torch.arange(start, min(start + _TABLE_ROWS, size))
            rows = self._reference.image_embedding(codes)[:, None]
            actual = self._run(path, image_codes=codes)["inputs_embeds"]
            part = self._difference(actual, torch.cat([rows, rows]))
            if worst is None or (part.snr_db or 0) < (worst.snr_db or 0):
                worst = part
        assert worst is not None
        return worst

    def _guided_sampler(self, path: Path) -> Difference:
        logits = torch.from_numpy(
            self._cast(self._reference.image_logits(self._hidden_states()[:8]))
        )
        noise = -torch.empty(4, logits.shape[1]).exponential_(generator=self._generator).log()
        cond, uncond = logits[:4].float(), logits[4:].float()
        guided = uncond + _GUIDANCE * (cond - uncond)
        expected = (guided / _TEMPERATURE + noise).argmax(-1).numpy()
        inputs = {
            "logits": logits.numpy(),
            "guidance_scale": np.float32(_GUIDANCE),
            "temperature": np.float32(_TEMPERATURE),
            "noise": noise.numpy(),
        }
        call = {name: np.asarray(value) for name, value in inputs.items()}
        return difference(
            run_in_pieces(path, [call], feed={})[0]["image_codes"], expected, self._float_type
        )

    def _run(self, path: Path, **inputs: Tensor) -> dict[str, Array]:
        call = {name: self._cast(tensor) for name, tensor in inputs.items()}
        return run_in_pieces(path, [call], feed={})[0]

    def _difference(self, actual: Array, expected: Tensor, *, logits: bool = False) -> Difference:
        return difference(actual, expected.numpy(), self._float_type, logits=logits)

    def _cast(self, tensor: Tensor) -> Array:
        array: Array = tensor.numpy()
        return array.astype(self._dtype) if tensor.is_floating_point() else array

    def _pixels(self) -> Tensor:
        """The photograph in [-1, 1], [1, 3, I, I]."""
        photograph = resources.files("janus_edge") / "assets" / "astronaut.jpg"
        return read_pixels(photograph, self._config.image_size)

    def _codes(self, *shape: int) -> Tensor:
        return torch.randint(self._config.vq.codebook_size, shape, generator=self._generator)

    def _sequence(self, length: int) -> Tensor:
        """Embeddings [2, length, H]: text in row 0, text and then image codes in row 1."""
        vocabulary = self._config.language.vocab_size
        ids = torch.randint(vocabulary, (2, length), generator=self._generator)
        embeds = self._reference.text_embeds(ids)
        codes = self._codes(length // 2)
        embeds[1, length - len(codes) :] = self._reference.image_embedding(codes)
        return embeds

    def _hidden_states(self) -> Tensor:
        """Hidden states [N, H] that the language model's own check made."""
        assert self._hidden is not None, "check the language model before the heads"
        return self._hidden


def _padded(rows: Tensor, length: int) -> Tensor:
    """[n, H] -> [length, H] with ones behind, which must not matter."""
    return torch.cat([rows, torch.ones(length - len(rows), rows.shape[1])])
