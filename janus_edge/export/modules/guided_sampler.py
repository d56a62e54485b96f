"""`guided_sampler`: classifier-free guidance and Gumbel-max sampling."""

from __future__ import annotations

from torch import Tensor, nn


class GuidedSampler(nn.Module):
    """Logits [2P, K] and noise [P, K] -> codes [P].

    argmax((uncond + g * (cond - uncond)) / T + noise) samples from the softmax of the guided
    logits at temperature T when the noise is Gumbel, and is greedy when the noise is zero. Always
    in float32: g = 5 multiplies the rounding error of half-precision logits.
    """

    prefix = ""

    def forward(
        self, logits: Tensor, guidance_scale: Tensor, temperature: Tensor, noise: Tensor
    ) -> Tensor:
        logits, pictures = logits.float(), noise.shape[0]
        cond, uncond = logits[:pictures], logits[pictures:]
        guided = uncond + guidance_scale * (cond - uncond)
        return (guided / temperature + noise).argmax(-1)
