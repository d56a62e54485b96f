"""A `pynvml` without a GPU, with the members recorded for a version of nvidia-ml-py.

benchmarks/record_nvml_api.py makes `nvml.json`. A function without an answer from the test fails as
NVML does if a GPU does not support it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TABLE: dict[str, dict[str, int | None]] = json.loads(
    Path(__file__).with_name("nvml.json").read_text("utf-8")
)
VERSIONS = [*TABLE]


class NVMLError(Exception):
    """The module's own error; the message is the driver's."""


class FakeNvml:
    """The module; ``answers`` are values or functions, by the name of NVML's function."""

    def __init__(self, version: str = VERSIONS[-1], **answers: Any) -> None:
        self._table, self.calls = TABLE[version], list[str]()
        self.answers: dict[str, Any] = {
            "nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetName": "NVIDIA A10",
            "nvmlSystemGetDriverVersion": "580.65.06",
            "nvmlDeviceGetHandleByPciBusId": lambda address: ("handle", address), **answers,
        }  # fmt: skip
        self.NVMLError = NVMLError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._table:
            raise AttributeError(name)
        value = self._table[name]
        return value if value is not None else self._function(name)

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name not in self.answers:
                raise NVMLError("Not Supported")
            answer = self.answers[name]
            return answer(*arguments) if callable(answer) else answer

        return call
