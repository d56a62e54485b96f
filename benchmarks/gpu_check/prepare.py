"""A folder from which `make gpu-check WHEELS=folder` runs on a machine without a network.

    make gpu-wheels WHEELS=folder [GPU_EXTRAS=cpu,engines,rtx] [GPU_PYTHON=3.12]

It gets `requirements.txt` (of pyproject.toml: what always is needed, and the extras), the wheels of
these and of what they need, for another Python or platform where that is asked for, and what needs
PyTorch to make: the shipped miniature's bundles, PyTorch's own run of it, and the tests' bundle.
Wheels that the other machine has already, in the wanted version, may be removed from the folder.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.models import PRECISIONS, Models, UnavailableError
from benchmarks.gpu_check.processes import ROOT, Processes, Run

#: What most wheels of Linux are tagged with; pip takes the tags that it is given and no others.
_GLIBC = (17, 24, 27, 28, 31, 34, 35)
_OLDER = ("manylinux2014", "manylinux2010", "manylinux1")


def requirements(project: dict[str, Any], extras: Sequence[str]) -> list[str]:
    """The requirements of a pyproject.toml's table ``project``, and the test runner's.

    Raises SystemExit for an extra that it has not.
    """
    optional = project["optional-dependencies"]
    for extra in extras:
        if extra not in optional:
            raise SystemExit(f"there is no extra {extra!r}: choose from {', '.join(optional)}")
    wanted = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    wanted += [line for line in optional["dev"] if line.startswith("pytest")]
    return list(dict.fromkeys(wanted))


def platforms(machine: str) -> list[str]:
    """pip's options for wheels of Linux on ``machine`` ('x86_64', 'aarch64')."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    tags += [f"{name}_{machine}" for name in _OLDER]
    return [word for tag in tags for word in ("--platform", tag)]


def download(run: Run, folder: Path, python: str | None, machine: str) -> None:
    """Bring the wheels of ``folder``/requirements.txt there; raises SystemExit.

    ``python`` None is this Python on this machine. What PyPI has without a wheel (TensorRT-RTX' own
    package, which only names others) is made into one here.
    """
    wanted: list[str | Path] = ["--requirement", folder / "requirements.txt"]
    wanted += ["--constraint", ROOT / "constraints.txt"]  # versions that were tried
    make: list[str | Path] = ["wheel", "--quiet", "--wheel-dir", folder]
    if python is None:
        outcome = run("pip", [*make, *wanted])
    else:
        words: list[str | Path] = ["download", "--quiet", "--dest", folder, "--find-links", folder]
        words += ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
        words += [*platforms(machine), *wanted]
        made: set[str] = set()
        while (outcome := run("pip", words)).code:
            lacking = re.search(r"No matching distribution found for (\S+)", outcome.errors)
            if lacking is None or lacking[1] in made:
                break
            made.add(lacking[1])
            run("pip", [*make, "--no-deps", lacking[1]])
    if outcome.code:
        raise SystemExit(f"{folder}: pip cannot bring the wheels ({outcome.reason})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare a folder."""
    import tomllib  # not in Python 3.10, which can use a prepared folder but not prepare one

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="cpu,engines,rtx")
    parser.add_argument("--python-version", help="of the other machine ('3.12'), if another")
    parser.add_argument("--machine", default="x86_64", help="its processor; with --python-version")
    parser.add_argument("--timeout", type=float, default=3600)
    options = parser.parse_args(arguments)
    folder, run = options.folder.absolute(), Processes(options.timeout, {})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = requirements(project, options.extras.split(","))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text("\n".join(wanted) + "\n", "utf-8")
    download(run, folder, options.python_version, options.machine)
    models = Models(folder, run)
    try:
        made = [*map(models.bundle, PRECISIONS), *map(models.reference, PRECISIONS)]
        made += [models.trace(), models.tiny()]
    except UnavailableError as why:
        raise SystemExit(f"{folder}: {why}") from why
    wheels = [*folder.glob("*.whl")]
    total = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    print(f"{folder}: {len(wheels)} wheels, {total:.0f} MiB; {', '.join(p.name for p in made)}")


if __name__ == "__main__":
    main()
