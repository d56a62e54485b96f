"""Precision as data: which float type a bundle's graphs compute in, and which nodes are integers.

A recipe knows no backend. A quantised recipe adds ordered rules over ``graph/node`` names, of which
the first that matches wins; what no rule matches stays in the float type. The built-in quantised
recipes are in ``calib/recipes.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from janus_edge.errors import InputError

#: How the range of an input is chosen (``calib/ranges.py``).
RANGE_METHODS = ("maximum", "percentile", "entropy", "mean_squared_error")

#: Types of the KV cache: the float type, or integers with a scale per channel.
CACHE_TYPES = ("float", "int8")

#: What moves difficulty between an input and the weights that read it: SmoothQuant or AWQ.
SCALINGS = ("none", "smooth", "awq")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the nodes of a rule are stored, and what they compute with.

    ``weights`` is ``int8`` or ``int4``; ``block`` the rows along K that share a scale, 0 for one
    scale per output channel (then int8, symmetric). ``inputs`` names the range method of inputs
    that are int8 as well, or is None for weights alone. ``scaling`` is ``smooth`` (inputs int8) or
    ``awq`` (weights alone), folded into the operator before where there is one. ``search`` fits
    scales to the least squared error, ``gptq`` moves each row's error to the rows after it.
    """

    weights: str
    block: int = 0
    symmetric: bool = True
    inputs: str | None = None
    scaling: str = "none"
    search: bool = True
    gptq: bool = False

    def __post_init__(self) -> None:
        if self.weights not in ("int8", "int4"):
            raise ValueError(f"weights must be int8 or int4, found {self.weights!r}")
        if self.block not in (0, 32, 64, 128):
            raise ValueError(f"block must be 0, 32, 64 or 128, found {self.block}")
        if not self.block and (self.weights == "int4" or not self.symmetric or self.gptq):
            raise ValueError("int4, asymmetric and GPTQ weights need a block above 0")
        if self.inputs is not None and self.inputs not in RANGE_METHODS:
            raise ValueError(
                f"inputs must be null or one of {', '.join(RANGE_METHODS)}; found {self.inputs!r}"
            )
        if self.inputs is not None and self.block:
            raise ValueError("int8 inputs need weights with a scale per channel: block 0")
        if self.scaling not in SCALINGS:
            raise ValueError(
                f"scaling must be one of {', '.join(SCALINGS)}; found {self.scaling!r}"
            )
        if self.scaling == "smooth" and self.inputs is None:
            raise ValueError("smooth scaling is for int8 inputs; weights alone take awq")
        if self.scaling == "awq" and not self.block:
            raise ValueError("awq scaling is for blocked weights; int8 inputs take smooth")


@dataclass(frozen=True, slots=True)
class Rule:
    """Nodes whose ``graph/node`` matches ``pattern`` get ``scheme``; None keeps them in float.

    In patterns ``*`` stands for anything, ``?`` for one character and ``[ab]`` for one of these.
    """

    pattern: str
    scheme: Scheme | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named precision; ``float_type`` is ``float32``, ``float16`` or ``bfloat16``.

    ``cache`` is how keys and values are kept: ``float`` for the float type, or ``int8`` with a scale
    per channel of each head, from calibration data.
    """

    name: str
    float_type: str
    rules: tuple[Rule, ...] = ()
    cache: str = "float"

    def __post_init__(self) -> None:
        if self.float_type not in ("float32", "float16", "bfloat16"):
            raise ValueError(
                f"float_type must be float32, float16 or bfloat16, found {self.float_type!r}"
            )
        if self.cache not in CACHE_TYPES:
            raise ValueError(f"cache must be float or int8, found {self.cache!r}")

    @property
    def bytes_per_float(self) -> int:
        """Bytes of one value of ``float_type``."""
        return 4 if self.float_type == "float32" else 2

    @property
    def bytes_per_cached(self) -> int:
        """Bytes of one value of the KV cache."""
        return 1 if self.cache == "int8" else self.bytes_per_float

    @property
    def quantised(self) -> bool:
        """Whether any node may have integer weights, or the KV cache is of integers."""
        return self.cache != "float" or any(rule.scheme for rule in self.rules)

    @property
    def int8_inputs(self) -> bool:
        """Whether any node may compute on 8-bit inputs."""
        return any(rule.scheme and rule.scheme.inputs for rule in self.rules)

    def scheme(self, graph: str, node: str) -> Scheme | None:
        """The scheme of the first rule that matches; None for float."""
        name = f"{graph}/{node}"
        return next((r.scheme for r in self.rules if fnmatchcase(name, r.pattern)), None)


RECIPES = {
    r.name: r
    for r in (Recipe("fp32", "float32"), Recipe("fp16", "float16"), Recipe("bf16", "bfloat16"))
}


def recipe(name: str) -> Recipe:
    """The float recipe called ``name``; raises :class:`InputError` with the known names."""
    try:
        return RECIPES[name]
    except KeyError:
        raise InputError(
            f"unknown precision {name!r}: choose one of {', '.join(RECIPES)}"
        ) from None
