"""Weight streaming: how much of the language model's weights stays in the GPU's memory.

TensorRT keeps the rest in the host's memory and copies it to the GPU in every run that needs it: a
model that is larger than the GPU runs, and more slowly. It must be asked for when an engine is built
(`janus-edge build --weight-streaming BUDGET`); the budget is recorded among the engine's options and
set when the engine is loaded. On a Jetson, whose GPU uses the host's memory, it saves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from janus_edge.errors import InputError

#: The option's name in an engine's manifest, and on the command line behind two hyphens.
OPTION = "weight-streaming"

#: Let TensorRT choose a budget from the memory that is free when the engine is loaded.
AUTO = "auto"

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


def parse_budget(text: str) -> str:
    """``auto``, or bytes in decimal, of words like '512M' (K, M and G are powers of 1024).

    Raises InputError for anything else.
    """
    number = re.fullmatch(r"(\d{1,15})([KMG]?)", text.strip().upper(), re.ASCII)
    if text.strip().lower() == AUTO:
        return AUTO
    if not number:
        raise InputError(
            f"--{OPTION} takes the memory for the language model's weights, like 512M or 2G, or auto; "
            f"found {text!r}"
        )
    return str(int(number[1]) << _UNITS[number[2]])


def budget(options: Mapping[str, str]) -> int | None:
    """The budget in bytes that an engine's ``options`` ask for; -1 for AUTO, None for no streaming.

    Raises InputError for options that :func:`parse_budget` did not write.
    """
    if OPTION not in options:
        return None
    found = parse_budget(options[OPTION])
    return -1 if found == AUTO else int(found)
