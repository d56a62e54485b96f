"""What the command line calls the targets; importing this costs nothing, so that help is quick."""

from __future__ import annotations

#: In the order of the help; `targets.py` makes each of them.
TARGET_NAMES = ("ort-cpu", "ort-cuda", "tensorrt", "tensorrt-rtx", "tensorrt-10.3")
