"""The shapes that plans are built for: optimisation profiles from the graph table.

TensorRT chooses kernels for the ``typical`` sizes of a profile and runs any between the smallest
and the largest. The cache capacity C is one number: TensorRT takes no cache of varying length, and
the cost of attention grows with the capacity. So the language model may have several plans with the same
weights: one with the capacity for painting and one for chat. Each may be split into prefill and decode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from janus_edge import engine_manifest
from janus_edge.config import JanusConfig
from janus_edge.engine_manifest import Range
from janus_edge.errors import InputError
from janus_edge.graphs import Graph, Port, signature

_ONE = Range(1, 1, 1)

#: Assumed tokens of a painting prompt; capacities are multiples of it.
PROMPT, BLOCK = 64, 64

#: Smallest, typical and largest shape of an input.
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Profile:
    """What an engine is to be used for.

    ``rows`` of the language model (two per picture under guidance), new tokens in a ``prefill``,
    ``capacity`` of the cache in positions, ``pictures`` that are painted at a time, and ``images`` that
    are encoded or decoded at a time: the runtime takes one after the other. A ``window`` is for
    parallel decoding: so many codes of each picture in a pass, with a profile of its own.

    ``chat`` is the capacity of a second plan of the language model, 0 for none. ``split`` divides each plan
    into prefill and decode with a fixed number of rows; the runtime pads missing rows. ``phase`` says
    whether a plan is for both, prefill or decode (:meth:`language_plans`).
    """

    rows: Range
    prefill: Range
    capacity: int
    pictures: Range
    images: Range
    window: Range | None = None
    chat: int = 0
    split: bool = False
    phase: str = "both"

    @classmethod
    def of(
        cls,
        config: JanusConfig,
        *,
        capacity: int | None = None,
        chat: int | None = None,
        window: Range | None = None,
        prefill: Range | None = None,
        pictures: Range = _ONE,
        images: Range = _ONE,
    ) -> Profile:
        """A profile for a model of these dimensions, checked against it.

        Without capacities there are two plans, of `painting_capacity` and `chat_capacity`, or one if the
        first is as large. With only a ``capacity`` there is one. A prefill may fill a cache at once,
        which is what its memory is measured by: give less and feed long prompts in chunks.
        """
        if chat is None:
            chat = chat_capacity(config) if capacity is None else 0
            chat = chat if chat > painting_capacity(config, window) else 0
        capacity = painting_capacity(config, window) if capacity is None else capacity
        if capacity < 1:
            raise InputError(f"the cache capacity must be at least 1, found {capacity}")
        rows = Range(1, 2 * pictures.typical, 2 * pictures.largest)
        most = max(capacity, chat)
        prefill = prefill or Range(1, min(PROMPT, most), most)
        made = cls(rows, prefill, capacity, pictures, images, window, chat)
        made.check(config)
        return made

    def check(self, config: JanusConfig) -> None:
        """Raise InputError unless a model of these dimensions can be built for this."""
        most, longest = config.language.max_positions, self.prefill.largest
        for capacity in (self.capacity, *([self.chat] if self.chat else [])):
            if not 1 <= capacity <= most:
                raise InputError(
                    f"the cache capacity must be from 1 to {most}, the model's positions; "
                    f"found {capacity}"
                )
        if self.chat and self.chat <= self.capacity:
            raise InputError(
                f"a chat plan with {self.chat} positions adds nothing to one with {self.capacity}: "
                "raise chat, or leave it out with chat=0"
            )
        largest = max(self.capacity, self.chat)
        if longest > largest:
            raise InputError(
                f"a prefill of {longest} tokens does not fit a cache of {largest} positions: "
                "raise the capacity, or prefill in chunks"
            )
        if self.window and self.window.largest > self.capacity:
            raise InputError(
                f"a window of {self.window.largest} codes does not fit a cache of {self.capacity} "
                "positions: raise the capacity or lower the window"
            )
        if self.split and self.window:
            raise InputError(
                "split plans take no window: TensorRT-RTX 1.7 builds no plan with fixed rows and two "
                "profiles of several tokens; leave window out, and windows run with the prefill's kernels"
            )
        if self.split and self.rows.largest % 2:
            raise InputError(
                f"split plans take all {self.rows.largest} rows at a time, and a picture has two: "
                "give an even number of rows"
            )
        if self.rows.largest < 2 * self.pictures.largest:
            raise InputError(
                f"{self.pictures.largest} pictures take {2 * self.pictures.largest} rows under "
                f"guidance, and the profile has {self.rows.largest}: raise rows or lower pictures"
            )

    @property
    def new_tokens(self) -> tuple[Range, ...]:
        """S of each of the language model's optimisation profiles: prefill, window if any, decode.

        The last one that takes a shape is the one that is tuned for it.
        """
        longer = (self.prefill, *([self.window] if self.window else []))
        return {"both": (*longer, _ONE), "prefill": longer, "decode": (_ONE,)}[self.phase]

    def language_plans(self) -> dict[str, Profile]:
        """The profile of each plan of the language model, by name; smallest capacity first.

        A prefill that does not fit the smaller capacity is cut to it.
        """
        rows = self.rows
        if self.split:
            rows = Range(rows.largest, rows.largest, rows.largest)
        made, stem = {}, Graph.LANGUAGE_MODEL.value
        for name, capacity in ((stem, self.capacity), (f"{stem}-chat", self.chat)):
            if not capacity:
                continue
            cut = Range(1, min(self.prefill.typical, capacity), min(self.prefill.largest, capacity))
            one = replace(self, rows=rows, prefill=cut, capacity=capacity, chat=0, split=False)
            if self.split:
                made[f"{name}-prefill"] = replace(one, phase="prefill")
                made[f"{name}-decode"] = replace(one, phase="decode")
            else:
                made[name] = one
        return made

    def manifest_entries(self) -> tuple[engine_manifest.Profile, ...]:
        """The optimisation profiles of all plans of the language model, as in a manifest."""
        plans = self.language_plans().values()
        return tuple(profile for plan in plans for profile in plan.plan_entries())

    def plan_entries(self) -> tuple[engine_manifest.Profile, ...]:
        """The optimisation profiles of the one plan that this profile is for."""
        capacity = Range(self.capacity, self.capacity, self.capacity)
        return tuple(
            engine_manifest.Profile(self.rows, new_tokens, capacity)
            for new_tokens in self.new_tokens
        )


def painting_capacity(config: JanusConfig, window: Range | None = None) -> int:
    """Positions for a prompt, a picture and a window beyond its end, in whole blocks."""
    needed = PROMPT + config.image_tokens + (window.largest if window else 0)
    return min(config.language.max_positions, -(-needed // BLOCK) * BLOCK)


def chat_capacity(config: JanusConfig) -> int:
    """Positions for a question about an image, and the same number for the answer."""
    return min(config.language.max_positions, PROMPT + 2 * config.image_tokens)


def fixed_sizes(graph: Graph, profile: Profile) -> dict[str, int]:
    """The symbols of ``graph`` that must be numbers before it is parsed."""
    return {"C": profile.capacity} if graph is Graph.LANGUAGE_MODEL else {}


def optimization_profiles(
    graph: Graph, config: JanusConfig, profile: Profile
) -> tuple[dict[str, Shapes], ...]:
    """For each optimisation profile of ``graph``: the shapes of its inputs of varying shape.

    `language_model` has those of ``new_tokens`` in one engine, so that its weights exist once. The
    others have one. Raises InputError as :meth:`Profile.check`.
    """
    profile.check(config)
    inputs = signature(graph, config).inputs
    return tuple(
        {port.name: _shapes(port, sizes) for port in inputs if _varies(port)}
        for sizes in _symbols(graph, profile)
    )


def _symbols(graph: Graph, profile: Profile) -> tuple[dict[str, Range], ...]:
    """The ranges of a graph's symbols, per optimisation profile."""
    if graph is Graph.LANGUAGE_MODEL:
        capacity = Range(profile.capacity, profile.capacity, profile.capacity)
        return tuple(
            {"B": profile.rows, "C": capacity, "S": new_tokens} for new_tokens in profile.new_tokens
        )
    # positions of a window are rows to the graphs around the language model
    width = profile.window.largest if profile.window else 1
    if graph in (Graph.IMAGE_EMBEDDING, Graph.GUIDED_SAMPLER):
        made = _wider(profile.pictures, width)
        return ({"P": made, "2P": Range(2 * made.smallest, 2 * made.typical, 2 * made.largest)},)
    batches = {
        Graph.TEXT_HEAD: profile.rows,
        Graph.IMAGE_HEAD: _wider(profile.rows, width),
        Graph.VQ_DECODER: profile.images,
        Graph.VISION_ENCODER: profile.images,
        Graph.VQ_ENCODER: profile.images,
    }
    return ({"N": batches[graph]},)


def _wider(rows: Range, width: int) -> Range:
    return Range(rows.smallest, rows.typical, rows.largest * width)


def _varies(port: Port) -> bool:
    return any(isinstance(dim, str) and dim != "C" for dim in port.shape)


def _shapes(port: Port, sizes: dict[str, Range]) -> Shapes:
    ranges = [Range(dim, dim, dim) if isinstance(dim, int) else sizes[dim] for dim in port.shape]
    return (
        tuple(one.smallest for one in ranges),
        tuple(one.typical for one in ranges),
        tuple(one.largest for one in ranges),
    )
