"""Recorded layouts of sysfs: the files that a board's kernel shows, in a folder.

Labels, addresses and files are those of the Linux drivers (ina3221, ina238, devfreq, cpufreq) and of
the boards' device trees. The values are made up. The hwmon folder lies below the device, with links to
it.
"""

from __future__ import annotations

from pathlib import Path

HWMON, DRIVER = "sys/class/hwmon", "sys/bus/i2c/drivers/ina3221"


def write(root: Path, files: dict[str, object]) -> None:
    """Write each value to its file as one line."""
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


def ina3221(root: Path, address: str, number: int, channels: dict[str, tuple[int, int]]) -> Path:
    """Write a monitor with rails of (mV, mA), reachable by both paths, and files that are not rails."""
    folder = root / f"sys/devices/platform/bus@0/c240000.i2c/i2c-1/{address}/hwmon/hwmon{number}"
    files: dict[str, object] = {
        "name": "ina3221",
        "in7_label": "sum of shunt voltages",
        "in7_input": 760,
    }
    for channel, (label, (voltage, current)) in enumerate(channels.items(), 1):
        files |= {
            f"in{channel}_label": label, f"in{channel}_enable": 1, f"in{channel}_input": voltage,
            f"curr{channel}_input": current, f"in{channel + 3}_input": 33 * channel,
        }  # fmt: skip
    write(folder, {**files, "curr4_input": 99999})
    for link in (root / HWMON / folder.name, root / DRIVER / address / "hwmon" / folder.name):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
    return folder


def cpu(root: Path, *kilohertz: int, held: bool = False) -> None:
    """Write the clock domains of the processor."""
    for number, clock in enumerate(kilohertz):
        folder = f"sys/devices/system/cpu/cpufreq/policy{4 * number}"
        least = 1728000 if held else 115200
        write(root, {
            f"{folder}/scaling_cur_freq": clock, f"{folder}/scaling_min_freq": least,
            f"{folder}/scaling_max_freq": 1728000,
        })  # fmt: skip


def gpu(root: Path, name: str, hertz: int, *, held: bool = False) -> None:
    """Write a GPU's devfreq device and one of a video engine."""
    folder = f"sys/class/devfreq/{name}"
    least = 1020000000 if held else 306000000
    write(root, {
        f"{folder}/cur_freq": hertz, f"{folder}/min_freq": least,
        f"{folder}/max_freq": 1020000000, f"{folder}/governor": "nvhost_podgov",
        "sys/class/devfreq/15340000.vic/cur_freq": 115200000,
    })  # fmt: skip


def orin_nano(root: Path, *, held: bool = False) -> Path:
    """Orin Nano Super, JetPack 6.2: VDD_IN contains the rest; returns the monitor's folder."""
    write(root, {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic",
        "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
        "var/lib/nvpmodel/status": "pmode:0002",
        "etc/nvpmodel.conf": "# modes\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": 48437,
        "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
    })  # fmt: skip
    cpu(root, 1728000, 729600, held=held)
    gpu(root, "17000000.gpu", 1020000000, held=held)
    return ina3221(root, "1-0040", 1, {
        "VDD_IN": (5000, 3000), "VDD_CPU_GPU_CV": (5000, 1200), "VDD_SOC": (5000, 800),
    })  # fmt: skip


def agx_orin(root: Path) -> None:
    """AGX Orin: two monitors, no input rail, unconnected channels."""
    ina3221(root, "1-0040", 3, {
        "VDD_GPU_SOC": (19000, 200), "VDD_CPU_CV": (19000, 100), "VIN_SYS_5V0": (5000, 1000),
    })  # fmt: skip
    ina3221(root, "1-0041", 4, {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 100)})


def thor(root: Path) -> None:
    """AGX Thor, JetPack 7: an INA238 at the carrier's input, in microwatts."""
    write(root, {"proc/device-tree/compatible": "nvidia,p3834-0008\0nvidia,tegra264\0"})
    ina3221(root, "2-0040", 2, {
        "VDD_GPU": (12000, 500), "VDD_CPU_SOC_MSS": (12000, 300), "VIN_SYS_5V0": (5000, 1300),
    })  # fmt: skip
    write(root, {
        f"{HWMON}/hwmon5/name": "ina238", f"{HWMON}/hwmon5/power1_input": 23000000,
        f"{HWMON}/hwmon5/in0_input": 4, f"{HWMON}/hwmon5/in1_input": 19600,
        f"{HWMON}/hwmon5/curr1_input": 1173,
    })  # fmt: skip
    gpu(root, "gpu-gpc-0", 1575000000)
    gpu(root, "gpu-nvd-0", 998400000)
