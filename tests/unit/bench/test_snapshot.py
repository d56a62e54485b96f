"""A machine as JSON, on a recorded layout of a Jetson's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from janus_edge.bench.nvml import Nvml
from janus_edge.bench.snapshot import snapshot
from tests.unit.bench.trees import orin_nano, write


def no_nvml() -> tuple[Nvml | None, str]:
    return None, "not installed"


def taken(root: Path, **environment: str) -> dict[str, Any]:
    """Return the snapshot after a round trip through JSON."""
    found = json.dumps(snapshot(root, environment, lambda: "", no_nvml), allow_nan=False)
    return dict(json.loads(found))


def test_a_jetson(tmp_path: Path) -> None:
    """It holds board, system, memory, power mode, one reading of each sensor, and why one is missing."""
    orin_nano(tmp_path)
    write(tmp_path, {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "proc/meminfo": "MemTotal:        7803000 kB\nMemAvailable:    6000000 kB\nHugePages_Total:       0",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  595.78  Release",
    })  # fmt: skip
    found = taken(tmp_path)
    assert found["board"] == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert found["jetson_linux"].startswith("# R36 (release), REVISION: 4.3")
    assert found["driver"] == "595.78"
    assert found["memory_bytes"] == {"MemTotal": 7803000 << 10, "MemAvailable": 6000000 << 10}
    sensors = found["sensors"]
    assert (sensors["power_mode"], sensors["clocks_held"]) == ("MAXN_SUPER (2)", False)
    assert sensors["energy"] == {"VDD_IN": 15.0, "VDD_CPU_GPU_CV": 6.0, "VDD_SOC": 4.0}
    assert sensors["readings"]["GPU clock (MHz)"] == 1020.0
    assert sensors["missing"] == ["EMC clock: only root may read /sys/kernel/debug"]


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    """An unknown value is null or a reason, never zero."""
    found = taken(tmp_path)
    assert (found["board"], found["jetson_linux"], found["driver"]) == (None, None, None)
    assert (found["memory_bytes"], found["sensors"]["energy"]) == ({}, {})
    assert len(found["sensors"]["missing"]) == 3


def test_the_environment(tmp_path: Path) -> None:
    """Only the listed variables are read."""
    found = taken(tmp_path, OMP_NUM_THREADS="4", HF_TOKEN="secret", PATH="/bin")
    assert found["environment"] == {"OMP_NUM_THREADS": "4"}
