"""The built-in quantised recipes, and recipes from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from janus_edge.errors import InputError
from janus_edge.recipe import CACHE_TYPES, Recipe, Rule, Scheme
from janus_edge.schema import from_dict, to_dict

#: The heads decide between thousands of codes or words; the nearest-code search is never an operand.
_HEADS = (Rule("image_head/*", None), Rule("text_head/*", None))

_W8A8 = Scheme("int8", inputs="percentile", scaling="smooth")
#: E4M3 has range to spare: clipping and SmoothQuant cost more than they gain.
_FP8 = Scheme("fp8", inputs="mean_squared_error")
_INT8_BLOCKS = Scheme("int8", block=128)
_INT4_BLOCKS = Scheme("int4", block=32, scaling="awq")
_NVFP4 = Scheme("nvfp4", block=16)

#: What sees and makes pictures; convolutions have no norm before them to scale.
_IMAGES = (
    Rule("vq_*/*", replace(_W8A8, scaling="none")),
    Rule("vision_encoder/*Conv", replace(_W8A8, scaling="none")),
    Rule("vision_encoder/*", _W8A8),
)


def _weights_alone(scheme: Scheme) -> tuple[Rule, ...]:
    """Return weight-only rules; convolutions stay in float, since no backend has such kernels."""
    return (*_HEADS, Rule("vq_*/*", None), Rule("*/*Conv", None), Rule("*", scheme))


#: name -> ordered rules.
RULES: dict[str, tuple[Rule, ...]] = {
    "int8": (*_HEADS, *_IMAGES, Rule("*", _W8A8)),
    "fp8": (*_HEADS, Rule("*", _FP8)),
    "int8-weight": _weights_alone(_INT8_BLOCKS),
    "int4-weight": _weights_alone(_INT4_BLOCKS),
    "nvfp4-weight": _weights_alone(_NVFP4),
}

#: Behind a recipe's name they ask for an int8 KV cache as well, for heads with int8 weights, and for 8-bit
#: weights and inputs in the vision encoder and the VQ model; alone for nothing else.
INT8_CACHE, INT8_HEADS, INT8_IMAGES = "int8-cache", "int8-heads", "int8-images"
ADDITIONS = (INT8_CACHE, INT8_HEADS, INT8_IMAGES)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is changed in every rule that has the setting; None leaves it as it is."""

    block: int | None = None
    symmetric: bool | None = None
    inputs: str | None = None
    scaling: str | None = None
    gptq: bool | None = None


def quantised_recipe(name: str, float_type: str, changes: Changes = Changes()) -> Recipe:
    """A built-in recipe, or the one in the JSON file ``name`` (``write_recipe``'s), on a float type.

    ``int8-cache`` leaves weights and layers' inputs in float and keeps keys and values as int8,
    ``int8-heads`` stores the weights of the heads alone as int8, ``int8-images`` computes the vision
    encoder and the VQ model with 8-bit weights and inputs and nothing else; a built-in recipe with such
    additions behind its name does all of it. Raises InputError for a name that is unknown, a file that
    is no recipe, and changes that no rule can take.
    """
    plain, also = _without_additions(name)
    cache = "int8" if INT8_CACHE in also else "float"
    if plain in RULES or (also and not plain):
        rules = RULES.get(plain, ())
    elif name.endswith(".json"):
        rules, cache = _read(Path(name))
        name = Path(name).stem
    else:
        raise InputError(
            f"unknown recipe '{name}': choose one of {', '.join(RULES)}, each also with any of "
            f"-{', -'.join(ADDITIONS)} behind it, these alone, or a .json file with one"
        )
    try:
        changed = tuple(Rule(r.pattern, r.scheme and _changed(r.scheme, changes)) for r in rules)
    except ValueError as invalid:
        raise InputError(f"recipe '{name}': {invalid}") from invalid
    # additions win over the recipe's own rules; of the changes they take how ranges are found
    if INT8_IMAGES in also:
        ranges = Changes(inputs=changes.inputs)
        images = (Rule(r.pattern, r.scheme and _changed(r.scheme, ranges)) for r in _IMAGES)
        changed = (*images, *changed)
    if INT8_HEADS in also:
        changed = (*(Rule(rule.pattern, _INT8_BLOCKS) for rule in _HEADS), *changed)
    return Recipe(name, float_type, changed, cache)


def write_recipe(path: Path, rules: tuple[Rule, ...], cache: str = "float") -> None:
    """Write rules, and how the KV cache is kept, as JSON, for editing and for ``quantised_recipe``."""
    path.write_text(json.dumps(to_dict(_File(rules, cache)), indent=1) + "\n", "utf-8")


@dataclass(frozen=True, slots=True)
class _File:
    rules: tuple[Rule, ...]
    cache: str = "float"

    def __post_init__(self) -> None:
        if self.cache not in CACHE_TYPES:
            raise ValueError(f"cache must be float or int8, found {self.cache!r}")


def _without_additions(name: str) -> tuple[str, set[str]]:
    """The name of the rules, and what is asked for behind it; each addition counts once."""
    also = set[str]()
    while left := [a for a in set(ADDITIONS) - also if f"-{name}".endswith(f"-{a}")]:
        also.update(left)
        name = name.removesuffix(left[0]).removesuffix("-")
    return name, also


def _read(path: Path) -> tuple[tuple[Rule, ...], str]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as unreadable:
        raise InputError(f"{path}: not a readable recipe ({unreadable})") from unreadable
    found = from_dict(_File, data, error=lambda why: InputError(f"{path}: {why}"))
    if found.cache == "float" and not any(rule.scheme for rule in found.rules):
        raise InputError(f"{path}: no rule has a scheme, so nothing would be quantised")
    return found.rules, found.cache


def _changed(scheme: Scheme, changes: Changes) -> Scheme:
    """The scheme with those changes that concern its kind (blocked weights, or int8 inputs)."""
    wanted: dict[str, Any] = {
        "block": changes.block,
        "symmetric": changes.symmetric,
        "gptq": changes.gptq,
        "inputs": changes.inputs,
        "scaling": changes.scaling,
    }
    blocked = ("block", "symmetric", "gptq")
    for key, value in wanted.items():
        if value is None or (key in blocked and not scheme.block):
            continue
        if key == "inputs" and scheme.inputs is None:
            continue
        if key == "scaling" and scheme.scaling == "none" and value != "none":
            continue
        scheme = replace(scheme, **{key: value})
    return scheme
