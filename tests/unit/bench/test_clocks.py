"""Clocks, temperatures and power mode, on recorded layouts of sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.bench.clocks import clocks_held, gauges, is_jetson
from janus_edge.bench.power_mode import power_mode
from tests.unit.bench.trees import cpu, orin_nano, thor, write


def readings(root: Path) -> dict[str, float]:
    return {gauge.name: gauge.read() for gauge in gauges(root)[0]}


def test_orin(tmp_path: Path) -> None:
    """Hz and kHz become MHz; video engines and other zones are left out; EMC needs root."""
    orin_nano(tmp_path)
    assert is_jetson(tmp_path)
    assert readings(tmp_path) == {
        "GPU clock": 1020.0,
        "CPU clock, fastest core": 1728.0,
        "temperature, cpu-thermal": pytest.approx(48.437),
    }
    assert gauges(tmp_path)[1] == ["EMC clock: only root may read /sys/kernel/debug"]
    write(tmp_path, {"sys/kernel/debug/bpmp/debug/clk/emc/rate": 3199000000})
    assert readings(tmp_path)["EMC clock"] == pytest.approx(3199.0)
    assert gauges(tmp_path)[1] == []


def test_thor(tmp_path: Path) -> None:
    """On JetPack 7 the GPU's clock domain is called gpu-gpc-0; gpu-nvd-0 belongs to the video engine."""
    thor(tmp_path)
    assert readings(tmp_path) == {"GPU clock": 1575.0}


def test_a_gated_gpu(tmp_path: Path) -> None:
    """A gauge stays if it can be read only while the GPU runs."""
    write(tmp_path, {"sys/class/thermal/thermal_zone3/type": "gpu-thermal"})
    (gauge,), _ = gauges(tmp_path)
    with pytest.raises(OSError, match="temp"):
        gauge.read()
    write(tmp_path, {"sys/class/thermal/thermal_zone3/temp": 51000})
    assert gauge.read() == 51.0


def test_other_machines(tmp_path: Path) -> None:
    """A machine that is not a Jetson gets no message about its EMC."""
    assert not is_jetson(tmp_path)
    assert gauges(tmp_path) == ([], ["CPU clock: no /sys/devices/system/cpu/cpufreq"])
    cpu(tmp_path, 3400000)
    assert readings(tmp_path) == {"CPU clock, fastest core": 3400.0}
    assert clocks_held(tmp_path) is None


@pytest.mark.parametrize("held", [True, False])
def test_clocks_held(tmp_path: Path, held: bool) -> None:
    """Clocks are held if `jetson_clocks` has raised the minimum of every domain to its maximum."""
    orin_nano(tmp_path, held=held)
    assert clocks_held(tmp_path) is held
    cpu(tmp_path, 729600, held=not held)  # one of the domains
    assert clocks_held(tmp_path) is False


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("NV Power Mode: 25W\n1\n", "25W (1)"),
        ("NVPM WARN: fan\nNV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER (2)"),
        ("", "MAXN_SUPER (2)"),  # from the files
    ],
)
def test_power_mode(tmp_path: Path, printed: str, expected: str) -> None:
    """The mode comes from `nvpmodel -q`, or from the files that it keeps."""
    orin_nano(tmp_path)
    assert power_mode(tmp_path, lambda: printed) == (expected, "")


def test_power_mode_without_names(tmp_path: Path) -> None:
    """A container may have only the status; without it the reason is given."""
    write(tmp_path, {"var/lib/nvpmodel/status": "pmode:0001"})
    assert power_mode(tmp_path, lambda: "") == ("(1)", "")
    mode, why = power_mode(tmp_path / "none", lambda: "")
    assert mode is None
    assert "nvpmodel" in why
