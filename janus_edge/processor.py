"""Which kernels ONNX Runtime takes on this processor, as a line of text that can be compared."""

from __future__ import annotations

import platform
import re
from pathlib import Path

#: Instructions that its kernels are chosen by, as Linux names them on x86 and ARM.
_DECIDING = re.compile(r"(?!smep)(sse4|avx|amx|fma|f16c|asimd|fphp|sve|sme|i8mm|bf16)\w*")


def processor(information: Path = Path("/proc/cpuinfo")) -> str:
    """The architecture and its deciding instructions in order, as 'x86_64 avx avx2 f16c fma'.

    Where the system does not tell of instructions, its name of the processor stands for them.
    """
    try:
        text = information.read_text("utf-8", "replace")
    except OSError:
        text = ""
    deciding = sorted({word for word in instructions(text) if _DECIDING.fullmatch(word)})
    return " ".join([platform.machine(), *(deciding or [platform.processor()])]).strip()


def instructions(information: str) -> list[str]:
    """What the first processor has by the text of /proc/cpuinfo; empty where it does not tell."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", information, re.M)
    return flags[1].split() if flags else []
