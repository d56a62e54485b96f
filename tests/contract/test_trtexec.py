"""Every option that we print for trtexec exists in each version that a target is for.

`benchmarks/record_trtexec_options.py` makes `trtexec_options.json`, the options in trtexec's source.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from janus_edge.cli import cli
from janus_edge.engines.tensorrt.trtexec import trtexec_options

TABLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("trtexec_options.json").read_text("utf-8")
)
OPTIONS: dict[str, dict[str, bool]] = {
    version: found["options"] for version, found in TABLE["versions"].items()
}
SHAPES = {"x": ((1, 2), (3, 4), (5, 6)), "past_key.0": ((1, 8), (1, 8), (1, 8))}
LAST = [
    "--stronglyTyped", "--noTF32", "--maxAuxStreams=0", "--skipInference",
    "--exportLayerInfo=p/x.layers.json",
]  # fmt: skip


def made(**options: Any) -> list[str]:
    paths = PurePosixPath("g/x.onnx"), PurePosixPath("p/x.plan")
    return trtexec_options(*paths, [SHAPES, {"x": ((1,), (1,), (1,))}], **options)


def unknown(version: str, words: list[str]) -> set[str]:
    """Return options that the version lacks or that it takes only with (or without) a value."""
    found = set()
    for word in words:
        name, has_value, _ = word.removeprefix("--").partition("=")
        known = OPTIONS[version].get(name)
        # the help lists --profile without a value and gives it one in an example
        if known is None or (known or name == "profile") != bool(has_value):
            found.add(name)
    return found


@pytest.mark.parametrize("version", OPTIONS)
def test_every_option_exists(version: str) -> None:
    """Every option exists and has a value only if trtexec's help shows one. Only 10.3 cannot
    decompose attention, and its graphs have none."""
    assert unknown(version, made(workspace="512M")) == set()
    lacking = {"decomposableAttentions"} if version == "10.3" else set()
    assert unknown(version, made(decomposable=True)) == lacking


def test_the_check_finds() -> None:
    """Options that never existed or are gone are found, and so are values that are not taken."""
    assert unknown("10.16", ["--workspace=512"]) == {"workspace"}
    assert unknown("10.16", ["--fp16"]) == set()
    assert unknown("11.1", ["--fp16"]) == {"fp16"}
    assert unknown("10.16", ["--noTF32=1", "--onnx"]) == {"noTF32", "onnx"}


def test_the_line() -> None:
    """Each profile is followed directly by its shapes, as trtexec reads them; the other options are ours."""
    first = ["--onnx=g/x.onnx", "--saveEngine=p/x.plan"]
    profiles = [
        "--profile=0", "--minShapes=x:1x2,past_key.0:1x8", "--optShapes=x:3x4,past_key.0:1x8",
        "--maxShapes=x:5x6,past_key.0:1x8",
        "--profile=1", "--minShapes=x:1", "--optShapes=x:1", "--maxShapes=x:1",
    ]  # fmt: skip
    assert made() == [*first, *profiles, *LAST]
    more = set(made(workspace="2G", decomposable=True)) - set(made())
    assert more == {"--memPoolSize=workspace:2G", "--decomposableAttentions=*"}


def test_the_page() -> None:
    """Every option that docs/trtexec.md names belongs to trtexec or to one of our commands."""
    page = (Path(__file__).parents[2] / "docs" / "trtexec.md").read_text("utf-8")
    named = set(re.findall(r"--([A-Za-z][A-Za-z0-9-]+)", page))
    ours = {
        option.removeprefix("--")
        for command in ("build", "parity")
        for parameter in cli.commands[command].params
        for option in parameter.opts
    }
    assert named - ours <= {*OPTIONS["10.16"]}
    assert {"memPoolSize", "useCudaGraph", "trtexec", "engines"} <= named


def test_sources_are_named() -> None:
    """Every version records the commit that it was read from."""
    for version, found in TABLE["versions"].items():
        assert found["version"].startswith(f"{version}.")
        assert len(bytes.fromhex(found["commit"])) == 20
        assert len(found["options"]) > 100
