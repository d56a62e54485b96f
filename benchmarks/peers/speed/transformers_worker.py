"""transformers on PyTorch: eager, or compiled by torch.compile. ``--model`` is the checkpoint.

``--option`` is float32, bfloat16, compile-float32 or compile-bfloat16. Eager decoding has the default
cache, which grows; compiled decoding a static one, since a shape that changes would be compiled again.
A picture is painted by transformers' own `generate`, whose cache is static either way. Modules that the
item does not need are dropped after loading.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from protocol import Given, Runner, serve, timed
from torch import nn
from transformers import DynamicCache, JanusForConditionalGeneration, StaticCache
from work import CAPACITY, GUIDANCE, PREFILL


def load(given: Given) -> Runner:
    torch.set_num_threads(given.threads)
    torch.set_grad_enabled(False)
    kind, _, dtype = given.option.rpartition("-")
    compiled = kind == "compile"
    model = JanusForConditionalGeneration.from_pretrained(given.model, dtype=getattr(torch, dtype))
    model.eval()
    if given.item != "picture":
        _keep_only(model, given.item)
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True  # weights are constants, packed for the kernels that read them
    runner: Runner = globals()[f"_{given.item}"](given, model, compiled)
    return runner


_NEEDED = {
    "step": {"language_model", "generation_embeddings", "generation_aligner", "generation_head"},
    "prefill": {"language_model"},
    "vision": {"vision_model", "aligner"},
    "vq": {"vqmodel"},
}


def _keep_only(model: Any, item: str) -> None:
    for name, _ in list(model.model.named_children()):
        if name not in _NEEDED[item]:
            setattr(model.model, name, None)
    model.lm_head = None
    if model.model.language_model is not None:
        model.model.language_model.embed_tokens = nn.Identity()
    if model.model.vqmodel is not None:
        model.model.vqmodel.encoder = None


def _step(given: Given, model: Any, compiled: bool) -> Runner:
    work, inner = given.work, model.model
    prompt = torch.from_numpy(work.step_prompt()).to(model.dtype)
    codes = torch.from_numpy(work.step_codes())
    results = np.zeros((work.steps, 2, work.codebook), np.float32)
    language_model: Callable[..., Any] = inner.language_model
    cache = StaticCache(model.config.text_config, CAPACITY) if compiled else DynamicCache()
    language_model(inputs_embeds=prompt, past_key_values=cache, use_cache=True)
    if compiled:
        language_model = torch.compile(language_model, dynamic=False)

    def one(code: torch.Tensor) -> torch.Tensor:
        embeds = model.prepare_embeddings_for_image_generation(code.expand(2, 1))
        out = language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        logits: torch.Tensor = inner.generation_head(out.last_hidden_state[:, -1])
        conditional, unconditional = logits
        (unconditional + GUIDANCE * (conditional - unconditional)).argmax().item()
        return logits

    def rewind() -> None:
        if not compiled:
            cache.crop(-work.steps)
            return
        for layer in cache.layers:
            layer.cumulative_length.fill_(work.first)

    def run() -> list[float]:
        seconds = []
        for index, code in enumerate(codes):
            started = time.perf_counter()
            logits = one(code)
            seconds.append(time.perf_counter() - started)
            results[index] = logits.float().numpy()
        rewind()
        return seconds

    return Runner(run, lambda: results)


def _prefill(given: Given, model: Any, compiled: bool) -> Runner:
    embeds = torch.from_numpy(given.work.prefill()).to(model.dtype)
    language_model = model.model.language_model
    if compiled:
        language_model = torch.compile(language_model, dynamic=False)
    last: list[torch.Tensor] = []

    def once() -> None:
        cache = StaticCache(model.config.text_config, PREFILL) if compiled else DynamicCache()
        out = language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        last[:] = [out.last_hidden_state[0, -1]]

    return Runner(lambda: [timed(once)], lambda: last[0].float().numpy())


def _vision(given: Given, model: Any, compiled: bool) -> Runner:
    pixels = torch.from_numpy(given.work.pixels()).to(model.dtype)

    def embed(values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = model.model.get_image_features(values).pooler_output
        return result

    return _one_call(embed, pixels, compiled)


def _vq(given: Given, model: Any, compiled: bool) -> Runner:
    return _one_call(
        model.model.vqmodel.decode, torch.from_numpy(given.work.picture_codes()), compiled
    )


def _one_call(function: Callable[..., Any], argument: torch.Tensor, compiled: bool) -> Runner:
    if compiled:
        function = torch.compile(function, dynamic=False)
    last: list[torch.Tensor] = []

    def once() -> None:
        last[:] = [function(argument)]

    return Runner(lambda: [timed(once)], lambda: last[0][0].float().numpy())


def _picture(given: Given, model: Any, compiled: bool) -> Runner:
    ids = torch.from_numpy(given.work.prompt_ids())[None]
    if compiled:
        model.model.language_model.forward = torch.compile(model.model.language_model.forward)
    pictures: list[torch.Tensor] = []

    def once() -> None:
        codes = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_mode="image",
            do_sample=True,
            guidance_scale=GUIDANCE,
            max_length=ids.shape[1] + given.work.image_tokens,
        )
        pictures[:] = [model.decode_image_tokens(codes)]

    return Runner(lambda: [timed(once)], lambda: pictures[0][0].permute(2, 0, 1).float().numpy())


if __name__ == "__main__":
    serve(load, ("torch", "transformers", "numpy"))
