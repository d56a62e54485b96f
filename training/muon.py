"""Muon: momentum with orthogonalised updates for matrices and convolutions, Adam for the rest.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/). On these small models it needs
about half the steps of Adam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.95
_BETAS, _EPS = (0.9, 0.98), 1e-8
_QUINTIC = (3.4445, -4.7750, 2.0315)  # the Newton-Schulz polynomial of the source
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """``matrices`` (2 or more axes, the first is the output) by Muon, ``others`` by Adam.

    Each step first shrinks the matrices by ``decay`` times the learning rate.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        *,
        rate: float,
        adam_rate: float,
        decay: float = 0.0,
    ) -> None:
        self._decay = decay
        groups = [
            {"params": list(matrices), "lr": rate, "muon": True},
            {"params": list(others), "lr": adam_rate, "muon": False},
        ]
        super().__init__([g for g in groups if g["params"]], {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            update = self._muon if group["muon"] else self._adam
            for weight in group["params"]:
                if weight.grad is not None:
                    update(weight, weight.grad, group["lr"])

    def _muon(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        mean = state.setdefault("mean", torch.zeros_like(weight))
        mean.lerp_(gradient, 1 - _MOMENTUM)
        update = orthogonal(gradient.lerp(mean, _MOMENTUM).flatten(1))
        gain = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        weight.mul_(1 - rate * self._decay)
        weight.add_(update.reshape(weight.shape), alpha=-rate * gain)

    def _adam(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        mean = state.setdefault("mean", torch.zeros_like(weight))
        square = state.setdefault("square", torch.zeros_like(weight))
        count = state["count"] = state.get("count", 0) + 1
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.lerp_(gradient.square(), 1 - _BETAS[1])
        size = (square / (1 - _BETAS[1] ** count)).sqrt() + _EPS
        weight.addcdiv_(mean, size, value=-rate / (1 - _BETAS[0] ** count))


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with singular values of 1, by Newton-Schulz iteration."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x
