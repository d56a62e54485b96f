"""The state of stage 5 made small: what is left to store when the checkpoint it began with is known.

    python training/packed_state.py pack   work/miniature state.safetensors
    python training/packed_state.py unpack work/miniature state.safetensors

Packs policy.state.pt into a file of about 20 MB instead of 48: weights as differences from the
checkpoint (``--start``), Adam's moments, the second one as its root, each in float16 with a scale of
its own. Differences are small, so float16 loses a two-thousandth of what was learnt, not of the
weights. ``unpack`` writes policy.state.pt, from which policy.py continues.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from checkpoint import SHIPPED, tokenizer_of
from policy import Policy
from safetensors.torch import safe_open, save_file
from torch import Tensor

from janus_edge.atomic_file import written_aside

_MOMENTS = ("exp_avg", "exp_avg_sq")


def pack(state: dict[str, Any], origin: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a state as ``Run`` saves it."""
    policy = Policy(tokenizer_of(origin), origin)
    tensors: dict[str, Tensor] = {"success": state["model"]["success"]}
    learnt = [name for name, weight in policy.named_parameters() if weight.requires_grad]
    start = policy.state_dict()
    for number, name in enumerate(learnt):
        _put(tensors, f"difference.{name}", state["model"][name] - start[name])
        moments = state["optimizer"]["state"][number]
        _put(tensors, f"exp_avg.{name}", moments["exp_avg"])
        _put(tensors, f"exp_avg_sq.{name}", moments["exp_avg_sq"].sqrt())
    every = state["optimizer"]["state"].values()
    steps = {float(moments["step"]) for moments in every}
    metadata = {
        "step": state["step"], "seconds": state["seconds"], "adam_step": max(steps),
        "groups": state["optimizer"]["param_groups"],
    }  # fmt: skip
    return tensors, {"state": json.dumps(metadata)}


def unpack(tensors: dict[str, Tensor], metadata: dict[str, str], origin: Path) -> dict[str, Any]:
    """The state that was packed, but for float16's rounding."""
    policy, kept = Policy(tokenizer_of(origin), origin), json.loads(metadata["state"])
    learnt = [name for name, weight in policy.named_parameters() if weight.requires_grad]
    model, moments = policy.state_dict(), {}
    for number, name in enumerate(learnt):
        model[name] = model[name] + _get(tensors, f"difference.{name}")
        moments[number] = {
            "step": torch.tensor(kept["adam_step"]),
            "exp_avg": _get(tensors, f"exp_avg.{name}"),
            "exp_avg_sq": _get(tensors, f"exp_avg_sq.{name}").square(),
        }
    model["success"] = tensors["success"]
    optimizer = {"state": moments, "param_groups": kept["groups"]}
    return {
        "model": model, "optimizer": optimizer, "step": kept["step"], "seconds": kept["seconds"]
    }  # fmt: skip


def _put(tensors: dict[str, Tensor], name: str, value: Tensor) -> None:
    scale = value.abs().max().clamp(min=1e-30)
    tensors[name] = (value / scale).half()
    tensors[f"{name}.scale"] = scale


def _get(tensors: dict[str, Tensor], name: str) -> Tensor:
    return tensors[name].float() * tensors[f"{name}.scale"]


def main() -> None:
    """Pack or unpack, as the command says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--start", type=Path, default=SHIPPED, help="where policy.py began")
    given = parser.parse_args()
    path = given.folder / "policy.state.pt"
    if given.action == "pack":
        tensors, metadata = pack(torch.load(path, weights_only=True), given.start)
        with written_aside(given.file) as aside:
            save_file(tensors, aside, metadata)
        print(f"{given.file}: {given.file.stat().st_size / 1e6:.1f} MB")
        return
    with safe_open(given.file, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = unpack(tensors, file.metadata(), given.start)
    given.folder.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        torch.save(state, aside)
    print(f"{path}: update {state['step']}")


if __name__ == "__main__":
    main()
