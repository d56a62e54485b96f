"""Replaying a reference trace on a bundle: graph by graph, then a teacher-forced generation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.compare import Difference, code_difference, difference
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.noise import gumbel
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import text_to_image_ids, unconditional_ids
from janus_edge.trace_file import ReferenceTrace, TraceMeta


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The figures per stage; truthy when all are within their tolerances and all codes equal.

    ``first_differing_step`` is the first of ``steps`` at which the code drawn (with the same
    noise, after the same codes) is not the reference's; None if there is none.
    """

    stages: dict[str, Difference]
    steps: int
    equal_codes: int
    first_differing_step: int | None
    float_type: str

    def __bool__(self) -> bool:
        """Codes must all be equal in float32; half precision may round a tie the other way."""
        exact = self.first_differing_step is None or self.float_type != "float32"
        return exact and all(self.stages.values())


def replay(
    janus: Janus, trace: ReferenceTrace, progress: Callable[[int], None] = lambda _step: None
) -> ParityReport:
    """Feed the trace's inputs to the bundle's graphs and compare with the trace's outputs.

    ``progress`` is called after each step with its number. Raises InputError when the trace comes
    from a model of other dimensions.
    """
    _check_fits(janus, trace)
    float_type = janus.bundle.manifest.recipe.float_type
    stages = _stages(janus, trace.arrays, trace.meta, float_type)
    hidden, logits, codes = _teacher_forced(janus, trace, progress)
    reference = trace.arrays
    stages["language_model"] = difference(hidden, reference["steps.hidden_states"], float_type)
    stages["image_head"] = difference(logits, reference["steps.logits"], float_type, logits=True)
    equal = codes == reference["steps.image_codes"]
    first = None if equal.all() else int(np.argmin(equal))
    return ParityReport(stages, trace.steps, int(equal.sum()), first, float_type)


def _stages(
    janus: Janus, arrays: dict[str, NDArray[Any]], meta: TraceMeta, float_type: str
) -> dict[str, Difference]:
    def run(graph: Graph, given: str, name: str, wanted: str, output: str) -> NDArray[Any]:
        value = arrays[given]
        dtype = janus.backend.float_dtype
        value = value.astype(dtype) if value.dtype.kind == "f" else value
        shape, kind = arrays[wanted].shape, np.dtype(dtype)
        if graph is Graph.VQ_ENCODER:
            shape, kind = shape[:2], np.dtype(np.int64)
        if graph is Graph.IMAGE_EMBEDDING:
            shape = (2 * shape[0], 1, shape[1])
        result = np.zeros(shape, kind)
        janus.backend.session(graph).bind({name: np.ascontiguousarray(value)}, {output: result})()
        return result

    embeds = run(
        Graph.VISION_ENCODER, "vision.pixel_values", "pixel_values", "vision.image_embeds",
        "image_embeds",
    )  # fmt: skip
    codes = run(
        Graph.VQ_ENCODER, "vq_encoder.pixel_values", "pixel_values", "vq_encoder.cosines",
        "image_codes",
    )  # fmt: skip
    pixels = run(
        Graph.VQ_DECODER, "vq_decoder.image_codes", "image_codes", "vq_decoder.pixel_values",
        "pixel_values",
    )  # fmt: skip
    rows = run(
        Graph.IMAGE_EMBEDDING, "image_embedding.image_codes", "image_codes",
        "image_embedding.rows", "inputs_embeds",
    )  # fmt: skip
    text = run(
        Graph.TEXT_HEAD, "text_head.hidden_states", "hidden_states", "text_head.logits", "logits"
    )
    cosines = arrays["vq_encoder.cosines"]
    wanted_rows = arrays["image_embedding.rows"][:, None]
    return {
        "vision_encoder": difference(embeds, arrays["vision.image_embeds"], float_type),
        "vq_encoder": code_difference(codes, cosines.argmax(-1), cosines, float_type),
        "vq_decoder": difference(pixels, arrays["vq_decoder.pixel_values"], float_type),
        "image_embedding": difference(rows, np.concatenate([wanted_rows] * 2), float_type),
        "text_head": difference(text, arrays["text_head.logits"], float_type, logits=True),
        "guided_sampler": _sampling(janus, arrays, meta, float_type),
    }


def _sampling(
    janus: Janus, arrays: dict[str, NDArray[Any]], meta: TraceMeta, float_type: str
) -> Difference:
    """All steps' logits through the sampler at once, against guidance and Gumbel-max in numpy.

    Both take the logits as the graph's float type holds them: rounding belongs to the image head.
    """
    logits = arrays["steps.logits"].astype(janus.backend.float_dtype)
    steps, _, vocabulary = logits.shape
    noise = np.zeros((steps, vocabulary), np.float32)
    if meta.temperature:
        for step in range(steps):
            noise[step] = gumbel(meta.seed, 0, step, vocabulary)
    scale, temperature = np.float32(meta.guidance_scale), np.float32(meta.temperature or 1)
    cond, uncond = logits[:, 0].astype(np.float32), logits[:, 1].astype(np.float32)
    expected = ((uncond + scale * (cond - uncond)) / temperature + noise).argmax(-1)
    codes = np.zeros(steps, np.int64)
    inputs = {
        "logits": np.concatenate([logits[:, 0], logits[:, 1]]),
        "guidance_scale": np.array(scale),
        "temperature": np.array(temperature),
        "noise": noise,
    }
    janus.backend.session(Graph.GUIDED_SAMPLER).bind(inputs, {"image_codes": codes})()
    return difference(codes, expected, float_type)


def _teacher_forced(
    janus: Janus, trace: ReferenceTrace, progress: Callable[[int], None]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Hidden states [S, 2, H], logits [S, 2, K] and codes [S], each step after the trace's codes."""
    meta, tokenizer = trace.meta, janus.tokenizer
    ids = text_to_image_ids(tokenizer, meta.prompt)
    rows = (ids, unconditional_ids(ids, tokenizer.special))
    prompt = (janus.text_embeddings(rows[0]), janus.text_embeddings(rows[1]))
    request = ImageRequest([prompt], [0], [meta.seed], [0], meta.guidance_scale, meta.temperature)
    decoder = ImageDecoder(janus.bundle.manifest.config, janus.backend, request)
    hidden, logits, codes = [], [], []
    for step in range(trace.steps):
        codes.append(int((decoder.step() if step else decoder.first())[0]))
        hidden.append(decoder.hidden_states.copy())
        logits.append(decoder.logits.copy())
        decoder.codes[0] = trace.arrays["steps.image_codes"][step]
        progress(step + 1)
    return np.stack(hidden), np.stack(logits), np.array(codes)


def _check_fits(janus: Janus, trace: ReferenceTrace) -> None:
    config = janus.bundle.manifest.config
    wanted = (1, config.image_tokens, config.language.hidden_size)
    found = trace.arrays["vision.image_embeds"].shape
    vocabularies = [trace.arrays[f"{n}.logits"].shape[-1] for n in ("steps", "text_head")]
    expected = [config.vq.codebook_size, config.language.vocab_size]
    codes = [a for name, a in trace.arrays.items() if name.endswith("image_codes")]
    if any(a.min() < 0 or a.max() >= config.vq.codebook_size for a in codes):
        raise InputError(f"the trace of {trace.meta.checkpoint} has codes outside the codebook")
    if found != wanted or vocabularies != expected:
        raise InputError(
            f"the trace of {trace.meta.checkpoint} has embeddings {found}, the bundle's model "
            f"{wanted}: they are of different models"
        )
