"""Stage 3: the trained miniature as a checkpoint in the transformers format.

    python training/finish.py work/miniature janus_edge/miniature

Reads model.state.pt and tokenizer.json, writes config.json, generation_config.json, tokenizer.json
and model.safetensors (float16).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from miniature import CONFIG, FORMAT
from safetensors.torch import save_file
from train_model import Miniature

from janus_edge.atomic_file import written_aside
from janus_edge.export.synthetic_config import config_json, generation_config_json
from janus_edge.runtime.prompts import Tokenizer


def finish(folder: Path, target: Path) -> None:
    """Write the checkpoint; what was in ``target`` under the same names is replaced."""
    tokens = Tokenizer.from_file(folder / "tokenizer.json").special
    model = Miniature(tokens)
    model.load_state_dict(torch.load(folder / "model.state.pt", weights_only=True)["model"])
    weights = {n: p.to(torch.float16) for n, p in model.janus.state_dict().items()}
    assert all(w.isfinite().all() for w in weights.values()), "a weight overflows float16"
    target.mkdir(parents=True, exist_ok=True)
    with written_aside(target / "model.safetensors") as aside:
        save_file(weights, aside, metadata={"format": "pt"})
    _json(target / "config.json", config_json(CONFIG, tokens, FORMAT, "float16"))
    _json(target / "generation_config.json", generation_config_json(tokens))
    shutil.copyfile(folder / "tokenizer.json", target / "tokenizer.json")
    count = sum(w.numel() for w in weights.values())
    size = (target / "model.safetensors").stat().st_size
    print(f"{target}: {count / 1e6:.2f} million weights, {size / 1e6:.2f} MB")


def _json(path: Path, value: dict[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    finish(given.folder, given.target)
