"""The shapes that plans are built for: optimisation profiles from the graph table.

TensorRT chooses kernels for the ``typical`` sizes of a profile and runs any between the smallest
and the largest. The cache capacity C is one number: TensorRT takes no cache of varying length.
"""

from __future__ import annotations

from dataclasses import dataclass

from janus_edge import engine_manifest
from janus_edge.config import JanusConfig
from janus_edge.engine_manifest import Range
from janus_edge.errors import InputError
from janus_edge.graphs import Graph, Port, signature

_ONE = Range(1, 1, 1)

#: Smallest, typical and largest shape of an input.
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Profile:
    """What an engine is to be used for.

    ``rows`` of the language model (two per picture under guidance), new tokens in a ``prefill``,
    ``capacity`` of the cache in positions, ``pictures`` that are painted at a time, and ``images`` that
    are encoded or decoded at a time: the runtime takes one after the other. A ``window`` is for
    parallel decoding: so many codes of each picture in a pass, with a profile of its own.
    """

    rows: Range
    prefill: Range
    capacity: int
    pictures: Range
    images: Range
    window: Range | None = None

    @classmethod
    def of(
        cls,
        config: JanusConfig,
        *,
        capacity: int | None = None,
        prefill: Range | None = None,
        pictures: Range = _ONE,
        images: Range = _ONE,
    ) -> Profile:
        """A profile for a model of these dimensions, checked against it.

        The capacity, if not given, takes a prompt of 64 tokens with an image, and as many tokens
        again for the answer; it also takes 64 tokens and a picture. A prefill may fill it at once,
        which is what its memory is measured by: give less and feed long prompts in chunks.
        """
        most = config.language.max_positions
        capacity = min(most, 64 + 2 * config.image_tokens) if capacity is None else capacity
        if capacity < 1:
            raise InputError(f"the cache capacity must be at least 1, found {capacity}")
        rows = Range(1, 2 * pictures.typical, 2 * pictures.largest)
        prefill = prefill or Range(1, min(64, capacity), capacity)
        made = cls(rows, prefill, capacity, pictures, images)
        made.check(config)
        return made

    def check(self, config: JanusConfig) -> None:
        """Raise InputError unless a model of these dimensions can be built for this."""
        most, longest = config.language.max_positions, self.prefill.largest
        if not 1 <= self.capacity <= most:
            raise InputError(
                f"the cache capacity must be from 1 to {most}, the model's positions; "
                f"found {self.capacity}"
            )
        if longest > self.capacity:
            raise InputError(
                f"a prefill of {longest} tokens does not fit a cache of {self.capacity} positions: "
                "raise the capacity, or prefill in chunks"
            )
        if self.window and self.window.largest > self.capacity:
            raise InputError(
                f"a window of {self.window.largest} codes does not fit a cache of {self.capacity} "
                "positions: raise the capacity or lower the window"
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
        return (self.prefill, *([self.window] if self.window else []), _ONE)

    def manifest_entries(self) -> tuple[engine_manifest.Profile, ...]:
        """The language model's optimisation profiles, as a manifest has them."""
        capacity = Range(self.capacity, self.capacity, self.capacity)
        return tuple(
            engine_manifest.Profile(self.rows, new_tokens, capacity)
            for new_tokens in self.new_tokens
        )


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
