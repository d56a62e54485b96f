"""What a report says about a machine, and what it keeps to itself."""

from __future__ import annotations

import platform
import socket
from pathlib import Path

import janus_edge
from janus_edge.bench import machine
from janus_edge.bench.machine import describe, versions


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_x86(tmp_path: Path) -> None:
    """Two processors of one core, the largest level of the caches, the flags that matter."""
    cpu = "sys/devices/system/cpu"
    write(
        tmp_path,
        {
            "proc/cpuinfo": "processor: 0\nmodel name\t: Processor 9000\nflags\t\t: fpu avx2 avx512f\n\nprocessor: 1\n",
            f"{cpu}/cpu0/cache/index0/level": "1\n",
            f"{cpu}/cpu0/cache/index0/size": "32K\n",
            f"{cpu}/cpu0/cache/index3/level": "3\n",
            f"{cpu}/cpu0/cache/index3/size": "24M\n",
        },
    )
    for number in machine._usable():
        write(tmp_path, {f"{cpu}/cpu{number}/topology/thread_siblings_list": "0-1\n"})
    found = describe(tmp_path)
    assert found.processor == "Processor 9000"
    assert found.instructions == ("avx2", "avx512f")
    assert (found.cores, found.cache_bytes) == (1, 24 << 20)
    assert found.processors == len(machine._usable())


def test_a_board_without_a_model_name(tmp_path: Path) -> None:
    """Arm's /proc/cpuinfo names no processor; the device tree names the board."""
    write(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n",
            "proc/device-tree/model": "A Board of Ours\0",
        },
    )
    found = describe(tmp_path)
    assert (found.processor, found.instructions) == ("A Board of Ours", ("asimddp", "i8mm"))


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    found = describe(tmp_path)
    assert (found.cache_bytes, found.instructions) == (0, ())
    assert found.processor == (platform.processor() or platform.machine())
    assert found.cores == found.processors >= 1


def test_no_names() -> None:
    """Neither the host's name nor a folder is in it."""
    text = f"{describe()} {versions()}"
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text


def test_versions() -> None:
    found = versions()
    assert found["janus-edge"] == janus_edge.__version__
    assert {"numpy", "onnxruntime", "python"} <= set(found)
    assert "absent" not in found.values()
