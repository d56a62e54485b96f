"""The peers: what runs each, what it opens, which items of work it can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from work import ITEMS

_LANGUAGE = ("step", "prefill")
_LAYOUT = ("step", "prefill", "picture")


@dataclass(frozen=True)
class Peer:
    """``environment`` is a folder of `install.sh`, empty for the Python that runs janus-edge.

    ``model`` is relative to the folder of `prepare.py`, empty for the checkpoint itself. ``share`` is about how much memory it takes
    while it loads, as a multiple of the checkpoint's bytes: it decides who is alive at the same time.
    """

    name: str
    worker: str
    model: str
    share: float
    environment: str = ""
    option: str = ""
    items: tuple[str, ...] = ITEMS

    @property
    def file_name(self) -> str:
        return self.name.replace(" ", "-")


def _ours(recipe: str, share: float) -> Peer:
    engine = f"engines/{recipe.replace(' ', '-')}"
    return Peer(f"janus-edge {recipe}", "janus_edge_worker.py", engine, share)


def _torch(option: str, name: str, share: float) -> Peer:
    return Peer(name, "transformers_worker.py", "", share, "transformers", option)


def _openvino(option: str, share: float) -> Peer:
    return Peer(f"OpenVINO {option}", "openvino_worker.py", "openvino", share, "openvino", option)


def _layout(weights: str, share: float, option: str = "") -> Peer:
    name = f"transformers.js layout {weights} {option.replace('-', ' ')}".strip()
    model = f"growing-cache/{weights}"
    return Peer(name, "growing_cache_worker.py", model, share, "growing-cache", option, _LAYOUT)


def _llama_cpp(option: str, share: float) -> Peer:
    name = f"llama.cpp {option.upper()}"
    return Peer(name, "llama_cpp_worker.py", "llama-cpp", share, "llama-cpp", option, _LANGUAGE)


PEERS = (
    _ours("int4-weight block 128", 0.5),
    _ours("int4-weight block 128 int8-heads int8-cache int8-images", 0.5),
    _ours("int4-weight block 32", 0.5),
    _ours("int8", 0.8),
    _ours("int8 int8-heads int8-cache", 0.6),
    _ours("int8-weight", 0.8),
    _ours("fp32", 2.6),
    _openvino("int4-128", 0.6),
    _openvino("int4", 0.6),
    _openvino("int8", 0.9),
    _llama_cpp("q4_0", 0.4),
    _llama_cpp("q8_0", 0.6),
    _layout("q4", 0.6),
    _layout("q4", 0.6, "level-0"),
    _layout("fp32", 2.6),
    _torch("bfloat16", "transformers bfloat16", 1.2),
    _torch("compile-bfloat16", "torch.compile bfloat16", 2.4),
    _torch("float32", "transformers float32", 2.3),
    _torch("compile-float32", "torch.compile float32", 3.6),
)

#: What ratios are taken against: it runs in every group of peers that are alive together.
REFERENCE = {
    "step": "janus-edge int4-weight block 128",
    "prefill": "janus-edge int8",
    "vision": "janus-edge int8",
    "vq": "janus-edge int8",
    "picture": "janus-edge int4-weight block 128",
}
#: Whose results the others' are held to.
TRUTH = "transformers float32"


def available(models: Path, environments: Path, peer: Peer) -> str:
    """Empty if ``peer`` can be started, else what is missing."""
    if peer.model and not (models / peer.model).exists():
        return f"{models / peer.model} is missing: run prepare.py"
    if peer.environment and not (environments / peer.environment / "bin/python").exists():
        return f"{environments / peer.environment} is missing: run install.sh"
    return ""
