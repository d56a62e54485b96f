"""An engine's sizes as the text of ``janus-edge build --profile``."""

from __future__ import annotations

from collections.abc import Sequence

from janus_edge.engine_manifest import GraphBuild, LanguagePlan, Profile, Range


def profile_option(plans: Sequence[LanguagePlan], positions: int = 0) -> str:
    """Return the text that builds ``plans`` again, with room for ``positions`` if they have less.

    A plan's first profile is for prefill, the last for decode, and one in between for a window. The
    painting plan's prefill may be cut to its capacity, so the prefill is read from the largest plan. A
    smallest size above 1 means that plans are split.
    """
    capacities = sorted({plan.capacity for plan in plans})
    largest = [plan for plan in plans if plan.capacity == capacities[-1]]
    prefill, *rest = [profile for plan in largest for profile in plan.profiles]
    sizes = {"rows": prefill.rows, "prefill": prefill.new_tokens}
    for window in rest[:-1]:
        sizes["window"] = window.new_tokens
    words = [f"{name}={size.typical}:{size.largest}" for name, size in sizes.items()]
    words.append(f"capacity={capacities[0]}")
    if positions > capacities[-1]:
        words.append(f"chat={positions}")
    elif len(capacities) > 1:
        words.append(f"chat={capacities[-1]}")
    return ",".join([*words, *(["split=1"] if len(largest) > 1 else [])])


def older_profile_option(profiles: object) -> str | None:
    """The words for the profiles in a manifest of schema version 1, which had one plan.

    '' if it has none; None if they are not in that version's form.
    """
    if profiles == []:
        return ""
    try:
        found = tuple(
            Profile(*(_range(one[name]) for name in ("rows", "new_tokens", "capacity")))
            for one in profiles  # type: ignore[attr-defined]
        )
        return profile_option([LanguagePlan("older", "older", found, GraphBuild(0, None, {}))])
    except (LookupError, TypeError, ValueError):
        return None


def _range(sizes: dict[str, int]) -> Range:
    found = [sizes[name] for name in ("smallest", "typical", "largest")]
    if not all(type(size) is int for size in found):
        raise TypeError("sizes must be whole numbers")
    return Range(*found)
