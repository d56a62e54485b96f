"""Clocks and temperatures from Linux: cpufreq, devfreq, thermal zones, and a Jetson's EMC clock.

A Jetson's GPU is a devfreq device: `17000000.gpu` (Orin, JetPack 6), `gpu-gpc-0` (Thor, JetPack 7). The
memory clock (EMC) is in debugfs, which only root may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from janus_edge.bench.sampler import UNREADABLE, Gauge
from janus_edge.bench.sysfs import number, text

#: Names of a GPU's devfreq device; other devices (nvdec, vic, nvd) are video engines.
_GPU = ("gpu", "ga10b", "gv11b", "gp10b", "gpu-gpc-0")

_EMC = ("sys/kernel/debug/bpmp/debug/clk/emc/rate", "sys/kernel/debug/clk/emc/clk_rate")

#: Thermal zones in a report: processor, GPU, and a Jetson's hottest (tj).
_ZONES = ("cpu-thermal", "gpu-thermal", "tj-thermal", "x86_pkg_temp")


def is_jetson(root: Path) -> bool:
    """Whether this is an NVIDIA Tegra module."""
    compatible = text(root / "proc/device-tree/compatible")
    return "nvidia,tegra" in compatible or (root / "etc/nv_tegra_release").exists()


def gauges(root: Path) -> tuple[list[Gauge], list[str]]:
    """The gauges that can be read now, and why others are missing."""
    missing = []
    found = [Gauge("GPU clock", "MHz", _file(f / "cur_freq", 1e-6)) for f in _gpus(root)]
    policies = _policies(root)
    if policies:
        found.append(Gauge("CPU clock, fastest core", "MHz", _fastest(policies)))
    else:
        missing.append("CPU clock: no /sys/devices/system/cpu/cpufreq")
    found += [Gauge(f"temperature, {name}", "°C", _file(file, 1e-3)) for name, file in _zones(root)]
    if is_jetson(root):
        emc = [Gauge("EMC clock", "MHz", _file(root / path, 1e-6)) for path in _EMC]
        readable = [gauge for gauge in emc if _readable(gauge)][:1]
        found += readable
        if not readable:
            missing.append("EMC clock: only root may read /sys/kernel/debug")
    # a gated GPU's temperature cannot be read now, and can later
    return [g for g in found if _readable(g) or g.name == "temperature, gpu-thermal"], missing


def clocks_held(root: Path) -> bool | None:
    """Whether a Jetson's GPU and CPU clocks are fixed, as `jetson_clocks` sets them.

    None without such a GPU, or if its limits cannot be read.
    """
    ranges = [(f / "min_freq", f / "max_freq") for f in _gpus(root)]
    if not ranges:
        return None
    ranges += [(f / "scaling_min_freq", f / "scaling_max_freq") for f in _policies(root)]
    try:
        return all(number(least) == number(most) for least, most in ranges)
    except UNREADABLE:
        return None


def _gpus(root: Path) -> list[Path]:
    folders = sorted((root / "sys/class/devfreq").glob("*"))
    return [f for f in folders if f.name in _GPU or f.name.rpartition(".")[2] in _GPU]


def _policies(root: Path) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))


def _zones(root: Path) -> Iterator[tuple[str, Path]]:
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name = text(folder / "type")
        if name in _ZONES:
            yield name, folder / "temp"


def _file(path: Path, factor: float) -> Callable[[], float]:
    return lambda: factor * number(path)


def _fastest(policies: list[Path]) -> Callable[[], float]:
    return lambda: max(number(policy / "scaling_cur_freq") for policy in policies) / 1e3


def _readable(gauge: Gauge) -> bool:
    try:
        gauge.read()
    except UNREADABLE:
        return False
    return True
