"""Precision as data: a bundle's float type, and the number types of its quantised nodes.

A recipe knows no backend. A quantised recipe adds ordered rules over ``graph/node`` names, of which
the first that matches wins; what no rule matches stays in the float type. The built-in quantised
recipes are in ``calib/recipes.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from janus_edge.errors import InputError


@dataclass(frozen=True, slots=True)
class NumberType:
    """A quantised weight type; ``blocks`` are the numbers of rows that may share a scale.

    A block of 0 means one scale per output channel. ``integer`` types may have zero points.
    """

    bits: int
    blocks: tuple[int, ...]
    integer: bool


#: ``fp8`` is E4M3; ``nvfp4`` is E2M1 with E4M3 scales, which share one scale per weight.
NUMBER_TYPES = {
    "int8": NumberType(8, (0, 32, 64, 128), integer=True),
    "int4": NumberType(4, (32, 64, 128), integer=True),
    "fp8": NumberType(8, (0,), integer=False),
    "nvfp4": NumberType(4, (16,), integer=False),
}

#: How the range of an input is chosen (``calib/ranges.py``).
RANGE_METHODS = ("maximum", "percentile", "entropy", "mean_squared_error")

#: Types of the KV cache: the float type, or integers with a scale per channel.
CACHE_TYPES = ("float", "int8")

#: What moves difficulty between an input and the weights that read it: SmoothQuant or AWQ.
SCALINGS = ("none", "smooth", "awq")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the nodes of a rule are stored, and what they compute with.

    ``weights`` is one of NUMBER_TYPES; ``block`` is the number of rows along K that share a
    scale, or 0 for one symmetric scale per output channel. ``inputs`` names the range method of inputs,
    which then have the weights' type, or is None for weights alone. ``scaling`` is ``smooth`` (with
    quantised inputs) or ``awq`` (weights alone), folded into the preceding operator if there is one.
    ``search`` fits scales to the least squared error; ``gptq`` moves each row's error to later rows.
    """

    weights: str
    block: int = 0
    symmetric: bool = True
    inputs: str | None = None
    scaling: str = "none"
    search: bool = True
    gptq: bool = False

    def __post_init__(self) -> None:
        numbers = NUMBER_TYPES.get(self.weights)
        if numbers is None:
            raise ValueError(
                f"weights must be one of {', '.join(NUMBER_TYPES)}; found {self.weights!r}"
            )
        if self.block not in numbers.blocks:
            raise ValueError(
                f"the block of {self.weights} must be one of {', '.join(map(str, numbers.blocks))}; "
                f"found {self.block}"
            )
        fitted = self.scaling == "awq" or self.gptq or not self.symmetric
        if fitted and not (self.block and numbers.integer):
            raise ValueError(
                "asymmetric, GPTQ and AWQ weights need int8 or int4 with a block above 0"
            )
        if self.scaling not in SCALINGS:
            raise ValueError(
                f"scaling must be one of {', '.join(SCALINGS)}; found {self.scaling!r}"
            )
        if self.inputs is not None:
            self._check_inputs()
        elif self.scaling == "smooth":
            raise ValueError("smooth scaling needs 8-bit inputs; use awq for weights alone")

    def _check_inputs(self) -> None:
        if self.inputs not in RANGE_METHODS:
            raise ValueError(
                f"inputs must be null or one of {', '.join(RANGE_METHODS)}; found {self.inputs!r}"
            )
        if self.block:
            raise ValueError("8-bit inputs need weights with one scale per channel: set block to 0")
        if self.weights == "fp8" and self.inputs == "entropy":
            raise ValueError("entropy ranges count equal steps, which fp8 does not have")

    @property
    def bits(self) -> int:
        """Bits of one weight."""
        return NUMBER_TYPES[self.weights].bits

    def block_for(self, rows: int) -> int:
        """Return the largest block of the type, up to ``block``, that divides ``rows``.

        If none does, return the smallest; 0 means a scale per channel.
        """
        smaller = [b for b in NUMBER_TYPES[self.weights].blocks if 0 < b <= self.block]
        return max([b for b in smaller if rows % b == 0], default=min(smaller, default=0))


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
        """Whether any node may have quantised weights, or the KV cache is integer."""
        return self.cache != "float" or bool(self.number_types)

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes of all rules that quantise."""
        return tuple(rule.scheme for rule in self.rules if rule.scheme)

    @property
    def number_types(self) -> frozenset[str]:
        """The types of NUMBER_TYPES that weights may have."""
        return frozenset(scheme.weights for scheme in self.schemes)

    @property
    def small_floats(self) -> bool:
        """Whether any node may have fp8 or nvfp4 weights."""
        return any(not NUMBER_TYPES[name].integer for name in self.number_types)

    @property
    def int8_inputs(self) -> bool:
        """Whether any node may compute on int8 inputs."""
        return any(scheme.inputs and scheme.weights == "int8" for scheme in self.schemes)

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
