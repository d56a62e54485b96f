"""An engine: a bundle's model built for one target, in a folder that runs in a bundle's place.

    manifest.json               a bundle's, and: bundle, target, versions, profiles, passes per graph
    graphs/*                    lowered graphs with their weights, or a builder's serialised plans
    tokenizer.json
    text_embeddings.bin         as in a bundle: running needs nothing of the bundle itself

`engines/build.py` writes one.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import ClassVar

from janus_edge.bundle import Bundle
from janus_edge.engine_manifest import EngineManifest, profile_option
from janus_edge.errors import EngineError
from janus_edge.manifest import Manifest

#: Targets that are told which GPUs to build for; others build for the machine's own.
AHEAD_OF_TIME = ("tensorrt-rtx",)


class Engine(Bundle):
    """An opened engine; it is opened and checked as a bundle is, and raises EngineError."""

    MANIFEST_TYPE: ClassVar[type[Manifest]] = EngineManifest

    manifest: EngineManifest

    @property
    def rebuild_command(self) -> str:
        """The command line that builds this engine again, in its place."""
        return self.rebuild_command_for(self.manifest.compute_capability)

    def rebuild_command_for(self, compute_capability: str | None, target: str = "") -> str:
        """As :attr:`rebuild_command`, for a GPU of another compute capability ('8.9') or a ``target``."""
        built = self.manifest
        target = target or built.target
        words = ["janus-edge", "build", built.bundle.path, str(self.path), "--target", target]
        if built.profiles:
            words += ["--profile", profile_option(built.profiles)]
        for option, value in built.options.items():
            words += [f"--{option}", value] if value else [f"--{option}"]
        if target in AHEAD_OF_TIME:
            for one in (compute_capability or "").replace(",", " ").split():
                words += ["--compute-capability", one]
        return shlex.join([*words, "--force"])

    def check_tool(self, tool: str, found: str, *, exact: bool = False) -> None:
        """Raise EngineError unless ``found`` is the version of ``tool`` that the engine was built
        with; the patch number may differ unless they are to be ``exact``."""
        built = self.manifest.tools.get(tool, "unknown")
        if built != found and (exact or _minor(built) != _minor(found)):
            raise EngineError(
                f"{self.path}: was built with {tool} {built} and this machine has {found}; build it "
                f"again with  {self.rebuild_command}"
            )


def open_bundle_or_engine(path: str | Path, *, verify: bool = True) -> Bundle:
    """Open whichever is at ``path``; ``verify`` as in :meth:`Bundle.open`.

    Raises EngineError for an engine, BundleError for anything else that is not whole.
    """
    return (Engine if Engine.is_at(path) else Bundle).open(path, verify=verify)


def _minor(version: str) -> tuple[str, ...]:
    """Major and minor number of '1.31.1' or '1.31.1+cu12'; of 'unknown' nothing."""
    return tuple(re.findall(r"\d+", version)[:2])
