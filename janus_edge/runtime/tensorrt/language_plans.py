"""Plans of the language model: which one a KV cache uses, and which are open.

A TensorRT plan has one cache capacity, and the cost of attention grows with it, so an engine may have
several plans. All hold the same weights. A plan is opened when it is first needed; if the GPU cannot hold
the weights again, the open plans are closed. A closed plan is opened again by the next run that needs
it; caches stay where they are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from janus_edge.engine_manifest import LanguagePlan
from janus_edge.errors import BackendError, CapacityError, EngineError
from janus_edge.graphs import Graph
from janus_edge.runtime.tensorrt.environment import Environment
from janus_edge.runtime.tensorrt.execution import Launch, Place
from janus_edge.runtime.tensorrt.plan import Plan

_LOG = logging.getLogger(__name__)

#: Divisor of all memory: this share stays free beside a second plan, for caches, scratch memory and, if
#: the GPU shares the host's memory, the system.
_RESERVE = 10


class LanguagePlans:
    """The plans of one engine, by capacity; ``first`` has the smallest."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._entries: tuple[LanguagePlan, ...] = environment.folder.manifest.plans
        if not self._entries:
            raise EngineError(
                f"{environment.folder.path}: lists no plan of language_model; build it again with  "
                f"{environment.folder.rebuild_command}"
            )
        self._plans = {
            entry.name: Plan(environment, Graph.LANGUAGE_MODEL, entry, self._make_room)
            for entry in self._entries
        }
        self.first = next(iter(self._plans.values()))
        #: The least number of rows in a cache: split plans take no fewer.
        self.least_rows = self._entries[0].rows.smallest

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Free all plans; calls that were bound to them no longer work."""
        for plan in self._plans.values():
            plan.close()

    def capacity_for(self, positions: int) -> int:
        """Return the smallest capacity that holds ``positions``; raises CapacityError if none does."""
        folder = self.environment.folder
        found = folder.manifest.capacity_for(positions)
        if found is None:
            most = folder.manifest.capacities[-1]
            again = folder.rebuild_command_for(
                folder.manifest.compute_capability, positions=positions
            )
            raise CapacityError(
                f"{folder.path}: was built for a cache of {most} positions, and {positions} are "
                "needed; shorten the prompt, ask for fewer tokens or open the conversation with a "
                f"smaller capacity, or build it again for more with  {again}"
            )
        return found

    def most_new(self, capacity: int) -> int:
        """The most new tokens that a run on a cache of this capacity takes."""
        sizes = (profile.new_tokens for entry in self._of(capacity) for profile in entry.profiles)
        return max(size.largest for size in sizes)

    def launch(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Launch:
        """Return a run of the plan for these shapes, like :meth:`Plan.launch`; opens the plan."""
        capacity, new = inputs["past_key.0"].shape[2], inputs["inputs_embeds"].shape[1]
        fitting = [
            entry
            for entry in self._of(capacity)
            if any(p.new_tokens.smallest <= new <= p.new_tokens.largest for p in entry.profiles)
        ]
        # the last plan is the narrowest: decode takes one token
        return self._plans[fitting[-1].name].launch(inputs, outputs)

    def _of(self, capacity: int) -> list[LanguagePlan]:
        return [entry for entry in self._entries if entry.capacity == capacity]

    def _make_room(self, wanted: Plan, failure: BackendError | None) -> bool:
        """Close the other plans if memory does not hold ``wanted`` as well.

        A plan's file is about as large as its weights, and some memory is kept for other needs. The others
        are also closed if the driver reports enough memory but TensorRT fails to allocate it. Returns
        False if there is nothing to close.
        """
        others = [plan for plan in self._plans.values() if plan.is_open and plan is not wanted]
        device = self.environment.device
        if not others or device.driver.lost:
            return False
        (free, total), size = device.memory(), wanted.path.stat().st_size
        if failure is None and size + total // _RESERVE <= free:
            return False
        _LOG.warning(
            "%s takes about %.0f MiB of GPU memory, and %.0f MiB are free: closing %s, which opens again "
            "when needed",
            wanted.path.name, size / 2**20, free / 2**20, ", ".join(p.path.name for p in others),
        )  # fmt: skip
        for plan in others:
            plan.release()
        return True
