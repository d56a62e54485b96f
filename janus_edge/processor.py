"""Which kernels ONNX Runtime takes on this processor, as a line of text that can be compared."""

from __future__ import annotations

import platform
import re
from pathlib import Path

#: Instructions that its kernels are chosen by, as Linux names them on x86 and ARM.
_DECIDING = re.compile(r"(?!smep)(sse4|avx|amx|fma|f16c|asimd|fphp|sve|sme|i8mm|bf16)\w*")


#: Any of them sums products of uint8 and int8 in 32 bits.
_VNNI = {"avx_vnni", "avx512_vnni", "amx_int8"}


#: What an engine says of them, and what it may say.
INT8_PRODUCTS = "int8 products"
EXACT, SATURATING = "exact", "saturating"


def int8_products(information: Path = Path("/proc/cpuinfo")) -> str:
    """Whether ONNX Runtime's sums of products of uint8 and int8 are exact, or saturate in 16 bits, as
    on x86 without VNNI.

    Where an x86 system does not tell of its instructions, they are taken to saturate.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return EXACT
    return EXACT if _VNNI & set(_told(information)) else SATURATING


def processor(information: Path = Path("/proc/cpuinfo")) -> str:
    """The architecture and its deciding instructions in order, as 'x86_64 avx avx2 f16c fma'.

    Where the system does not tell of instructions, its name of the processor stands for them.
    """
    deciding = sorted({word for word in _told(information) if _DECIDING.fullmatch(word)})
    return " ".join([platform.machine(), *(deciding or [platform.processor()])]).strip()


def instructions(information: str) -> list[str]:
    """What the first processor has by the text of /proc/cpuinfo; empty where it does not tell."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", information, re.M)
    return flags[1].split() if flags else []


def _told(information: Path) -> list[str]:
    try:
        return instructions(information.read_text("utf-8", "replace"))
    except OSError:
        return []
