"""Where a checkpoint lies: a folder, the shipped miniature, or a repository of the hub."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from janus_edge.errors import CheckpointError, DependencyError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
#: Names the checkpoint inside this package, where no folder of that name is.
MINIATURE = "miniature"
_FILES = ["config.json", "tokenizer.json"]


def locate(checkpoint: str | Path) -> tuple[Path, str]:
    """The folder of ``checkpoint`` and its name; downloads it if it is a hub id ('org/name').

    'miniature' is the one that is shipped. A ``Path`` is always a folder. Raises CheckpointError if
    there is no such folder or the download fails.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder, folder.resolve().name
    if folder.exists():
        raise CheckpointError(
            f"{folder} is a file: pass the folder that holds config.json and the weights"
        )
    if checkpoint == MINIATURE:
        return Path(str(resources.files("janus_edge") / MINIATURE)), MINIATURE
    if isinstance(checkpoint, str) and _HUB_ID.fullmatch(checkpoint):
        return _download(checkpoint), checkpoint
    raise CheckpointError(
        f"no such folder: {checkpoint}; pass the folder of a checkpoint, a hub id such as "
        f"deepseek-ai/Janus-Pro-1B, or '{MINIATURE}' for the small one that is shipped"
    )


def _download(repo: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as missing:
        raise DependencyError.missing("huggingface_hub", "export") from missing
    try:
        weights = ["model*.safetensors", "model.safetensors.index.json"]
        folder = Path(snapshot_download(repo, allow_patterns=[*_FILES, *weights]))
        if not any(folder.glob("*.safetensors")):
            weights = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
            folder = Path(snapshot_download(repo, allow_patterns=[*_FILES, *weights]))
    except Exception as failed:  # of which HTTP library: that depends on the hub's version
        reason = next((line for line in str(failed).splitlines() if line.strip()), "")
        raise CheckpointError(
            f"'{repo}' is not a folder here, and downloading it from the Hugging Face hub failed "
            f"({type(failed).__name__}: {reason}): check the name and the network, or download it "
            f"on another machine (hf download {repo}) and pass the folder"
        ) from failed
    return folder
