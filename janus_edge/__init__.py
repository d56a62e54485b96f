"""janus-edge: DeepSeek Janus and Janus-Pro on small machines, without PyTorch at run time.

>>> from janus_edge import Janus
>>> with Janus.load("janus-pro-1b.bundle") as janus:
...     picture = janus.generate("a red fox in the snow", seed=7)[0]
...     picture.save("fox.png")
...     print(janus.describe("fox.png", "What animal is this?").text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Answer", "Chat", "Janus", "Picture", "__version__"]

if TYPE_CHECKING:
    from janus_edge.runtime.chat import Chat
    from janus_edge.runtime.picture import Answer, Picture
    from janus_edge.runtime.pipeline import Janus

_HOMES = {"Answer": "picture", "Chat": "chat", "Janus": "pipeline", "Picture": "picture"}


def __getattr__(name: str) -> Any:
    """Import the runtime on first use, so that ``import janus_edge`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'janus_edge' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"janus_edge.runtime.{_HOMES[name]}"), name)
