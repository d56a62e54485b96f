"""Who may import whom, and that the runtime needs none of what the exporter needs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import janus_edge

PACKAGE = Path(janus_edge.__file__).parent
ROOT = PACKAGE.parent
STAGES = ("export", "calib", "engines", "runtime")

#: What each part of the package may import of the package.
MAY_IMPORT = {
    "shared": {"shared"},
    "runtime": {"shared", "runtime"},
    "export": {"shared", "export"},
    "engines": {"shared", "engines"},
    "calib": {"shared", "calib", "runtime"},
    "shapes": {"shared", "shapes"},
    "evaluation": {"shared", "shapes", "runtime", "evaluation"},
    "bench": {"shared", "runtime", "bench"},
    "cli": {"shared", "cli", "shapes", "evaluation", "bench", *STAGES},
}

#: Packages that only the export extra brings; engines and calib may rewrite ONNX graphs.
EXPORT_ONLY = {"torch", "transformers", "safetensors", "onnxscript", "huggingface_hub"}
GRAPH_TOOLS = {"onnx", "onnx_ir"}
NEVER_AT_RUN_TIME = {*EXPORT_ONLY, *GRAPH_TOOLS}

#: What costs time to import, and help needs none of.
HEAVY = {*NEVER_AT_RUN_TIME, "numpy", "PIL", "onnxruntime", "tokenizers", "rich", "scipy"}


def imports(source: str) -> Iterator[str]:
    """The modules that a source imports when it runs, wherever the import stands."""
    typing_only: set[ast.AST] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            typing_only.update(inner for part in node.body for inner in ast.walk(part))
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # ``from janus_edge import bundle`` names a module, too
            for alias in node.names:
                inner = node.module == "janus_edge" and not alias.name.startswith("__")
                yield f"janus_edge.{alias.name}" if inner else str(node.module)


def part_of(module: str) -> str:
    """'shared', 'cli' or the stage of a module of the package; '' for the package itself."""
    _, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    return first if first in MAY_IMPORT else ("shared" if first else "")


def wrong_imports(part: str, source: str) -> set[str]:
    """What ``source``, in ``part`` of the package, imports against the rules."""
    wrong = set()
    for module in imports(source):
        top = module.partition(".")[0]
        own = top == "janus_edge" and part_of(module) not in {"", *MAY_IMPORT[part]}
        foreign = top in EXPORT_ONLY and part != "export"
        tools = top in GRAPH_TOOLS and part not in ("export", "calib", "engines")
        third = part == "shared" and top not in {*sys.stdlib_module_names, "numpy", "janus_edge"}
        if own or foreign or tools or third or top in STAGES:
            wrong.add(module)
    return wrong


def sources() -> dict[str, str]:
    """Every module of the package but the two that only open the door, and its part."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in ("__init__.py", "__main__.py"):
            first = path.relative_to(PACKAGE).parts[0]
            found[name] = first if first in MAY_IMPORT else "shared"
    return found


@pytest.mark.parametrize(("name", "part"), sources().items())
def test_dependency_direction(name: str, part: str) -> None:
    """cli -> stages -> shared contracts; a stage imports no other (calib may drive the runtime).

    The world of shapes is below the stages, and no stage knows it; the evaluation drives the
    runtime and judges with the shapes; the benchmark drives the runtime.
    """
    assert wrong_imports(part, (PACKAGE / name).read_text("utf-8")) == set()


def test_every_part_is_seen() -> None:
    """The rules above are applied to real files of every part."""
    assert set(sources().values()) == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("shared", "from janus_edge.runtime.pipeline import Janus"),
        ("shared", "import PIL"),
        ("shared", "from janus_edge import cli"),
        ("runtime", "def f():\n    from janus_edge.export.checkpoint import Checkpoint"),
        ("runtime", "import onnx"),
        ("runtime", "import torch.nn"),
        ("runtime", "from janus_edge import engines"),
        ("export", "import janus_edge.runtime.session"),
        ("export", "from janus_edge.calib import data"),
        ("engines", "from janus_edge.runtime import session"),
        ("calib", "from janus_edge.export import trace"),
        ("calib", "import torch"),
        ("runtime", "from janus_edge.shapes.scene import SIZE"),
        ("runtime", "from janus_edge.evaluation import evaluate"),
        ("shapes", "from janus_edge.runtime.pipeline import Janus"),
        ("shapes", "from janus_edge.evaluation.report import Report"),
        ("evaluation", "from janus_edge.export import trace"),
        ("evaluation", "import torch"),
        ("evaluation", "from janus_edge.cli import console"),
        ("calib", "from janus_edge.shapes import scene"),
        ("bench", "from janus_edge.cli import console"),
        ("bench", "import onnx"),
        ("runtime", "from janus_edge.bench import measure"),
        ("cli", "import torch"),
        ("cli", "from runtime.pipeline import Janus"),
        ("export", "import export"),
    ],
)
def test_the_check_finds(part: str, source: str) -> None:
    """Each of these breaks a rule, and is noticed."""
    assert wrong_imports(part, source)


def test_nothing_imports_through_the_links() -> None:
    """The links at the root are for people who browse: no file imports ``export`` and the like."""
    files = [p for d in ("janus_edge", "tests", "benchmarks") for p in (ROOT / d).rglob("*.py")]
    assert len(files) > 50
    for path in files:
        tops = {module.partition(".")[0] for module in imports(path.read_text("utf-8"))}
        assert not tops & set(STAGES), path


def modules_after(code: str, *args: str) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after running ``code``."""
    report = (
        "\nimport json, sys\nprint(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + report, *args],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


USE = """
import sys, janus_edge
with janus_edge.Janus.load(sys.argv[1]) as janus:
    picture = janus.generate("a red fox")[0]
    answer = janus.describe(picture.image, "What is this?", max_new_tokens=3)
    janus.decode(janus.encode(picture.image))
    assert picture.image.size == (32, 32) and answer.token_ids
"""


def test_runtime_without_the_exporter(tiny_bundle: Path) -> None:
    """Painting, answering and reconstructing import neither torch nor any tool of the exporter."""
    loaded = modules_after(USE, str(tiny_bundle))
    assert loaded >= {"janus_edge", "onnxruntime", "numpy", "tokenizers", "PIL"}
    assert not loaded & NEVER_AT_RUN_TIME


def test_evaluation_without_the_exporter() -> None:
    """Judging a model takes scipy, and none of what made it."""
    loaded = modules_after("import janus_edge.evaluation, janus_edge.evaluation.contact_sheet")
    assert "scipy" in loaded
    assert not loaded & NEVER_AT_RUN_TIME


def test_import_costs_nothing() -> None:
    """``import janus_edge`` alone imports nothing but itself and the standard library."""
    loaded = modules_after("import janus_edge; janus_edge.__version__")
    before = modules_after("")
    assert loaded - before - set(sys.stdlib_module_names) == {"janus_edge"}


def test_help_costs_nothing() -> None:
    """The help of every command is shown without importing anything heavy."""
    code = """
from janus_edge.cli import cli
for command in ([], *([name] for name in cli.commands)):
    try:
        cli.main([*command, "--help"], standalone_mode=True)
    except SystemExit as done:
        assert done.code == 0
"""
    loaded = modules_after(code)
    assert "click" in loaded
    assert not loaded & HEAVY
