"""An environment for gpu-check on a machine without a network, from a folder of wheels.

    python3 -m benchmarks.gpu_check.environment ENVIRONMENT WHEELS

It is a virtual environment that also sees what the calling Python sees: PyTorch, or the TensorRT of
JetPack. Unlike `venv --system-site-packages` that holds where the calling Python is itself one of a
virtual environment; and it needs the caller's pip alone, no `ensurepip`.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


def seen(paths: Sequence[str]) -> list[str]:
    """The folders of installed packages among ``paths``, a Python's search path."""
    return [p for p in paths if Path(p).name in ("site-packages", "dist-packages")]


def make(folder: Path, paths: Sequence[str]) -> Path:
    """Make the environment, which also sees packages on ``paths``; its Python."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "host.pth").write_text("\n".join(seen(paths)) + "\n", "utf-8")
    return python


def main(arguments: Sequence[str]) -> int:
    """Make it and install what WHEELS/requirements.txt names and the machine lacks; pip's exit code."""
    folder, wheels = map(Path, arguments)
    python = make(folder, sys.path)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    offline = ["--no-index", "--find-links", str(wheels)]
    named = ["--requirement", str(wheels / "requirements.txt")]
    done = subprocess.run([*pip, "install", "--quiet", *offline, *named], check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
