"""Record the members of nvidia-ml-py for the fake in the tests (tests/unit/bench/nvml.json).

    pip install nvidia-ml-py==12.535.161, then ==13.615.71, each in an environment of its own
    PYTHONPATH=. ENVIRONMENT/bin/python benchmarks/record_nvml_api.py tests/unit/bench/nvml.json

Records names of functions, and names and values of constants. It calls nothing, so it needs no driver.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from pathlib import Path

#: The members to keep, of about 2500 names.
_PREFIXES = (
    "nvmlInit", "nvmlShutdown", "nvmlDeviceGet", "nvmlSystemGet", "nvmlClocks", "NVML_CLOCK_",
    "NVML_TEMPERATURE_", "NVMLError",
)  # fmt: skip


def main() -> None:
    path = Path(sys.argv[1])
    table = json.loads(path.read_text("utf-8")) if path.exists() else {}
    module = importlib.import_module("pynvml")
    found: dict[str, int | None] = {}
    for name in sorted(vars(module)):
        value = getattr(module, name)
        if name.startswith(_PREFIXES) and (callable(value) or isinstance(value, int)):
            found[name] = value if isinstance(value, int) else None
    table[importlib.metadata.version("nvidia-ml-py")] = found
    path.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
