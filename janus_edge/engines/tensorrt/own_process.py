"""Build each plan in its own process: its memory is freed, and a crash becomes an error.

    request.json  ->  python -c "...serve()"  ->  lines on standard output:
                                                  {"state": "parse"} ... {"built": {...}}
                                                  or {"error": "EngineError", "message": "..."}

TensorRT keeps memory until its process ends; on a Jetson the next graph would lack that memory. A
crashing kernel, or a system out of memory, ends the process. Standard input only shows that the parent
is alive: the child exits when it closes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from janus_edge import errors
from janus_edge.engines.tensorrt.build import BuiltPlan
from janus_edge.engines.tensorrt.plan_file import partial_path
from janus_edge.engines.tensorrt.request import PlanRequest, build_here, from_json, to_json
from janus_edge.errors import EngineError, JanusEdgeError
from janus_edge.progress import Row

_LOG = logging.getLogger(__name__)

#: The child searches for modules only where its parent does.
_CHILD = (
    "import sys; request, *sys.path = sys.argv[1:]; "
    f"from {__name__} import serve; sys.exit(serve(request))"
)

_MEMORY = (
    "the system does this when memory is short: free some or add swap, or build with a "
    "smaller --workspace or --profile"
)
_CRASH = (
    "update TensorRT and the driver, or find the layer with --dump-network and try a bundle of "
    "another recipe"
)

#: By signal, where memory can be the cause; earlyoom sends SIGTERM, and so do people.
_FIXES = {"SIGKILL": _MEMORY, "SIGTERM": f"{_MEMORY}; else {_CRASH}"}


def build_apart(request: PlanRequest, row: Row) -> BuiltPlan:
    """Build in a separate process; raises like :func:`build_plan`.

    A process that ends without an answer is an EngineError with the graph, the signal and the fix.
    The process has ended when this returns or raises, even after an interrupt, and the plan is either
    complete or absent.
    """
    with TemporaryDirectory(prefix="janus-edge-build-") as folder:
        asked, said = Path(folder, "request.json"), Path(folder, "stderr")
        asked.write_text(to_json(request), "utf-8")
        try:
            with _started(asked, said) as process:
                answer = _answer(process, row)
                if not answer:
                    raise _end_without_answer(request, process.wait(), said)
        finally:
            partial_path(request.out).unlink(missing_ok=True)
        for line in _lines(said):
            _LOG.info("%s: %s", request.graph.value, line)
    if "built" in answer:
        return from_json(BuiltPlan, answer["built"])
    raise getattr(errors, answer["error"])(answer["message"])


def serve(request: str) -> int:
    """Run the child: build what the file ``request`` asks for, answer, and return the exit code."""
    # libraries print to standard error; only our answers go to standard output
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    def tell(**words: Any) -> None:
        print(json.dumps(words), file=answers)

    class Phases:
        def state(self, text: str) -> None:
            tell(state=text)

        def begin(self, total: int) -> None:
            pass

        def advance(self, done: int) -> None:
            pass

    asked = from_json(PlanRequest, json.loads(Path(request).read_text("utf-8")))
    try:
        built = build_here(asked, Phases())
    except JanusEdgeError as failure:
        tell(error=type(failure).__name__, message=str(failure))
        return failure.exit_code
    tell(built=json.loads(to_json(built)))
    return 0


def _end_with_the_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


@contextmanager
def _started(request: Path, said: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the child; end it if an exception leaves the block."""
    command = [sys.executable, "-I", "-c", _CHILD, str(request), *sys.path]
    with (
        said.open("wb") as errors_of_child,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors_of_child,
            encoding="utf-8",
        ) as process,
    ):  # fmt: skip
        try:
            yield process
        except BaseException:
            process.kill()
            process.wait()
            raise


def _answer(process: subprocess.Popen[str], row: Row) -> dict[str, Any]:
    """Report the child's phases to ``row`` and return its last answer; empty if there is none."""
    assert process.stdout is not None
    for line in process.stdout:
        words: dict[str, Any] = json.loads(line)
        if "state" not in words:
            return words
        row.state(words["state"])
    return {}


def _end_without_answer(request: PlanRequest, code: int, said: Path) -> EngineError:
    """Return the error for a child that crashed or was killed."""
    lines = _lines(said)
    for line in lines:
        _LOG.info("%s: %s", request.graph.value, line)
    last = f" ({lines[-1][:300]})" if lines else ""
    if code >= 0:
        how, fix = f"ended with exit code {code}", _CRASH
    else:
        names = {one.value: one.name for one in signal.Signals}
        name = names.get(-code, "unknown")
        how, fix = f"was killed by signal {-code} ({name})", _FIXES.get(name, _CRASH)
    return EngineError(
        f"{request.graph_file}: the process that builds {request.graph.value} for {request.target} "
        f"{how}{last}; {fix}"
    )


def _lines(said: Path) -> list[str]:
    text = said.read_text("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
