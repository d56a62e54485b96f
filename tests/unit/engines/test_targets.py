"""The targets by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.engine import AHEAD_OF_TIME
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.engines.target_names import TARGET_NAMES
from janus_edge.engines.targets import TargetOptions, target
from janus_edge.errors import InputError
from tests.unit.runtime.fakes import CONFIG


@pytest.mark.parametrize("name", TARGET_NAMES)
def test_every_name_has_a_target(name: str) -> None:
    """Each goes by its own name, and is made without importing what it builds with."""
    assert target(name, CONFIG).name == name


def test_unknown() -> None:
    """One that is not there is an error that lists them."""
    known = "ort-cpu, ort-cuda, tensorrt, tensorrt-rtx, tensorrt-10.3"
    with pytest.raises(InputError, match=f"unknown target 'abacus': choose one of {known}$"):
        target("abacus", CONFIG)


def test_without_dimensions() -> None:
    """Shapes follow from the model's dimensions; ort-cpu takes any."""
    assert target("ort-cpu").profiles == ()
    with pytest.raises(InputError, match="tensorrt-rtx is built for a model .*: give its bundle"):
        target("tensorrt-rtx")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (TargetOptions(profile="rows=2"), "--profile"),
        (TargetOptions(capabilities=("8.9",)), "--compute-capability"),
        (TargetOptions(dump=Path("networks")), "--dump-network"),
    ],
)
def test_options_of_others(options: TargetOptions, named: str) -> None:
    """What would have no effect is refused."""
    with pytest.raises(InputError, match=f"{named} is for TensorRT: leave it out for ort-cpu"):
        target("ort-cpu", CONFIG, options)


def test_prepacking_is_for_the_cpu() -> None:
    made = target("ort-cpu", CONFIG, TargetOptions(prepack=True))
    assert isinstance(made, OrtCpu)
    assert made.options == {"prepack": ""}
    for name in ("ort-cuda", "tensorrt-rtx"):
        with pytest.raises(InputError, match=f"--prepack is for ort-cpu: leave it out for {name}"):
            target(name, CONFIG, TargetOptions(prepack=True))


def test_ahead_of_time_are_targets() -> None:
    assert set(AHEAD_OF_TIME) < set(TARGET_NAMES)
