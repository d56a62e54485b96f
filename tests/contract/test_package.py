"""The wheel that is built through the source distribution holds the whole package."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Names in the source distribution (without its top folder) and in the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        return source, set(archive.namelist())


def package_files() -> set[str]:
    folder = ROOT / "janus_edge"
    files = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(ROOT).as_posix() for p in files}


def test_the_wheel_holds_every_file_of_the_package(
    distributions: tuple[set[str], set[str]],
) -> None:
    _, wheel = distributions
    inside = {name for name in wheel if name.startswith("janus_edge/")}
    assert inside == package_files()
    assert {"janus_edge/py.typed", "janus_edge/assets/astronaut.jpg"} <= inside


def test_the_wheel_installs_nothing_but_the_package(
    distributions: tuple[set[str], set[str]],
) -> None:
    _, wheel = distributions
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"janus_edge"}


def test_the_source_distribution_can_be_tested(distributions: tuple[set[str], set[str]]) -> None:
    source, _ = distributions
    needed = {"README.md", "LICENSE", "Makefile", "constraints.txt", "tests/conftest.py"}
    assert needed | package_files() <= source
