"""The trtexec command line that builds the same plan as `build_plan`.

Options are from trtexec's source (10.3 to 11.1), recorded in `tests/contract/trtexec_options.json`.
After parsing, `build_plan` also changes the network; trtexec has no option for that.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from janus_edge.engines.tensorrt.profiles import Shapes

#: The order matters: trtexec reads a profile's shapes only directly after its --profile.
_BOUNDS = ("minShapes", "optShapes", "maxShapes")

_SAVE = "--saveEngine="


def trtexec_options(
    onnx: PurePosixPath,
    plan: PurePosixPath,
    profiles: Sequence[Mapping[str, Shapes]],
    *,
    workspace: str = "",
    decomposable: bool = False,
) -> list[str]:
    """Return the options that build the graph ``onnx`` into ``plan`` with these ``profiles``.

    ``workspace`` limits a layer's scratch memory ('512M'); ``decomposable`` lets attention without a
    fused kernel be built from several layers; trtexec supports that from 10.15 on.
    """
    made = [f"--onnx={onnx}", f"{_SAVE}{plan}"]
    for number, shapes in enumerate(profiles):
        made.append(f"--profile={number}")
        for index, bound in enumerate(_BOUNDS):
            sizes = (f"{name}:{_sizes(three[index])}" for name, three in shapes.items())
            made.append(f"--{bound}={','.join(sizes)}")
    made += ["--stronglyTyped", "--noTF32", "--maxAuxStreams=0"]
    if workspace:
        made.append(f"--memPoolSize=workspace:{workspace}")
    if decomposable:
        made.append("--decomposableAttentions=*")
    return [*made, "--skipInference", f"--exportLayerInfo={plan.with_suffix('.layers.json')}"]


def script(commands: Mapping[str, Sequence[str]], title: str, after: str) -> str:
    """Return a shell script that runs trtexec in its own folder for each graph of ``commands``.

    A plan gets its name when it is complete, and existing plans are kept, so an interrupted script can be
    run again. ``title`` is not trusted.
    """
    lines = [
        "#!/bin/sh",
        # a line break would end the comment
        f"# {''.join(c if c.isprintable() else '?' for c in title)}",
        "set -eu",
        'cd "$(dirname "$0")"',
        'trtexec="${TRTEXEC:-trtexec}"',
        "mkdir -p plans",
    ]
    for name, options in commands.items():
        plan = f"plans/{name}.plan"
        aside = {f"{_SAVE}{plan}": f"{_SAVE}{plan}.partial"}
        words = " \\\n        ".join(shlex.quote(aside.get(word, word)) for word in options)
        lines += [
            "",
            f"if [ ! -e {plan} ]; then",
            '    "$trtexec" \\',
            f"        {words} ||",
            f"        {{ rm -f {plan}.partial; exit 1; }}",
            f"    mv {plan}.partial {plan}",
            "fi",
        ]
    return "\n".join([*lines, "", f"printf '%s\\n' {shlex.quote(f'next:  {after}')}", ""])


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
