"""An engine: a bundle's model built for one target, in a folder that runs in a bundle's place.

    manifest.json               a bundle's, and: bundle, target, versions, plans, passes per graph
    graphs/*                    lowered graphs with their weights, or serialised plans; the language
                                model may have several
    tokenizer.json
    text_embeddings.bin         as in a bundle: running needs nothing of the bundle itself

`engines/build.py` writes one.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from janus_edge.bundle import MANIFEST, Bundle
from janus_edge.engine_manifest import ENGINE, ENGINE_SCHEMA_VERSION, EngineManifest
from janus_edge.engine_profile import older_profile_option, profile_option
from janus_edge.errors import EngineError
from janus_edge.manifest import Manifest
from janus_edge.target_limits import rebuild_refusal

if TYPE_CHECKING:
    from typing import Self

#: Targets that are told which GPUs to build for; others build for the machine's own.
AHEAD_OF_TIME = ("tensorrt-rtx",)

#: Options of earlier versions. An engine built with one can be opened, but not run.
REMOVED_OPTIONS = ("weight-streaming",)


class Engine(Bundle):
    """An opened engine; it is opened and checked as a bundle is, and raises EngineError."""

    MANIFEST_TYPE: ClassVar[type[Manifest]] = EngineManifest

    manifest: EngineManifest

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """Like :meth:`Bundle.open`; an engine of an older schema is refused with its build command."""
        _refuse_older(Path(path))
        return super().open(path, verify=verify)

    @property
    def rebuild_command(self) -> str:
        """The command line that builds this engine again, in its place."""
        return self.rebuild_command_for(self.manifest.compute_capability)

    def rebuild_command_for(
        self, compute_capability: str | None, target: str = "", positions: int = 0
    ) -> str:
        """Like :attr:`rebuild_command`, for another compute capability ('8.9') or another ``target``.

        The new engine has a cache of ``positions`` if this engine's caches are smaller.
        """
        built = self.manifest
        target = target or built.target
        words = ["janus-edge", "build", built.bundle.path, str(self.path), "--target", target]
        if built.plans:
            words += ["--profile", profile_option(built.plans, positions)]
        for option, value in built.options.items():
            if option in REMOVED_OPTIONS:
                continue
            words += [f"--{option}", value] if value else [f"--{option}"]
        if target in AHEAD_OF_TIME:
            for one in (compute_capability or "").replace(",", " ").split():
                words += ["--compute-capability", one]
        return shlex.join([*words, "--force"])

    def rebuild_advice(self, compute_capability: str | None, target: str = "") -> str:
        """'build it again with' the command of :meth:`rebuild_command_for`, where `build` takes it.

        Else why `build` refuses the recipe, and the recipe to quantise with.
        """
        built = self.manifest
        capabilities = (compute_capability or "").replace(",", " ").split()
        why = rebuild_refusal(target or built.target, built.recipe, capabilities)
        if why:
            return f"it cannot be built again here from {built.bundle.path}: {why}, and build from that bundle"
        return f"build it again with  {self.rebuild_command_for(compute_capability, target)}"

    def check_options(self) -> None:
        """Raise EngineError for an engine built with an option that no longer exists."""
        removed = [option for option in REMOVED_OPTIONS if option in self.manifest.options]
        if removed:
            raise EngineError(
                f"{self.path}: was built with --{removed[0]}, which is no longer supported; "
                f"{self.rebuild_advice(self.manifest.compute_capability)}"
            )

    def check_tool(self, tool: str, found: str, *, exact: bool = False) -> None:
        """Raise EngineError unless ``found`` is the version of ``tool`` that the engine was built
        with; the patch number may differ unless they are to be ``exact``."""
        built = self.manifest.tools.get(tool, "unknown")
        if built != found and (exact or _minor(built) != _minor(found)):
            raise EngineError(
                f"{self.path}: was built with {tool} {built} and this machine has {found}; "
                f"{self.rebuild_advice(self.manifest.compute_capability)}"
            )


def open_bundle_or_engine(path: str | Path, *, verify: bool = True) -> Bundle:
    """Open whichever is at ``path``; ``verify`` as in :meth:`Bundle.open`.

    Raises EngineError for an engine, BundleError for anything else that is not whole.
    """
    return (Engine if Engine.is_at(path) else Bundle).open(path, verify=verify)


def _refuse_older(folder: Path) -> None:
    """Raise EngineError, with the command that rebuilds it, for an engine of an older janus-edge.

    The command keeps the profile if it can be read. It drops other options: their meaning may have
    changed with the schema.
    """
    try:
        data = json.loads((folder / MANIFEST).read_text("utf-8"))
        version, target, bundle = data["schema_version"], data["target"], data["bundle"]["path"]
        capability = str(data["compute_capability"] or "").replace(",", " ").split()
        kind = data["kind"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return  # `Bundle.open` raises for it
    if kind != ENGINE.name or type(version) is not int or not 0 < version < ENGINE_SCHEMA_VERSION:
        return
    words = ["janus-edge", "build", str(bundle), str(folder), "--target", str(target)]
    profile, lost = older_profile_option(data.get("profiles", [])), ""
    if profile is None:
        lost = " and give its --profile again (rows, prefill, window, capacity, chat)"
    elif profile:
        words += ["--profile", profile]
    if data.get("options"):
        lost += " and give its other options again"
    if target in AHEAD_OF_TIME:
        words += [word for one in capability for word in ("--compute-capability", one)]
    raise EngineError(
        f"{folder}: was built by an older janus-edge (schema version {version}, this one reads "
        f"{ENGINE_SCHEMA_VERSION}); build it again{(lost and f',{lost}:') or ' with'}  "
        f"{shlex.join([*words, '--force'])}"
    )


def _minor(version: str) -> tuple[str, ...]:
    """Major and minor number of '1.31.1' or '1.31.1+cu12'; of 'unknown' nothing."""
    return tuple(re.findall(r"\d+", version)[:2])
