"""`janus-edge sensitivity`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import print_json, print_table, progress_bar
from janus_edge.errors import DependencyError, InputError

if TYPE_CHECKING:
    from janus_edge.calib.sensitivity import GroupSensitivity


@click.command(short_help="Measure what quantising each layer group alone costs.")
@click.argument("bundle", type=click.Path())
@click.option("--recipe", required=True, help="As for `quantize`: a name or a .json file.")
@click.option("--calibration", type=click.Path(), help="What `janus-edge calibrate` recorded.")
@click.option("--keep", type=click.IntRange(0), default=2, show_default=True,
              help="How many groups the mixed recipe keeps in float.")  # fmt: skip
@click.option("--mixed", type=click.Path(), help="A .json file for the mixed recipe.")
@click.option("--only", "pattern", default="*", show_default=True, help="Only groups that match.")
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def sensitivity(
    bundle: str, recipe: str, calibration: str | None, keep: int, mixed: str | None, pattern: str,
    threads: int, as_json: bool,
) -> None:  # fmt: skip
    """Quantise each layer group of BUNDLE alone and measure how far the logits move.

    Every group's bundle is written to a temporary folder for a moment (as large as BUNDLE; set
    TMPDIR for another disk). --mixed writes a recipe that keeps the groups in float whose
    divergence per byte is largest, for `janus-edge quantize --recipe`.

    Example:  janus-edge sensitivity miniature --recipe int8 --calibration c.npz --mixed mixed.json
    """
    try:
        from janus_edge.calib.bundle_quantizer import checked_calibration
        from janus_edge.calib.layer_groups import layer_groups
        from janus_edge.calib.recipes import quantised_recipe, write_recipe
        from janus_edge.calib.sensitivity import propose
        from janus_edge.calib.sensitivity import sensitivity as measure
        from janus_edge.calib.variants import variants
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "onnx", "calib") from missing
    from fnmatch import fnmatchcase

    from janus_edge.bundle import Bundle
    from janus_edge.runtime.measuring_options import MeasuringOptions
    from janus_edge.runtime.pipeline import Janus

    if mixed and (not mixed.endswith(".json") or not Path(mixed).absolute().parent.is_dir()):
        raise InputError(f"{mixed}: give --mixed a .json file in an existing folder")
    parent = Bundle.open(bundle)
    wanted = quantised_recipe(recipe, parent.manifest.recipe.float_type)
    checked_calibration(parent, wanted, calibration)  # before minutes of painting
    groups = {n: g for n, g in layer_groups(parent).items() if fnmatchcase(n, pattern)}
    if not groups:
        raise InputError(f"no layer group matches '{pattern}'; leave --only out to see all")
    with (
        tempfile.TemporaryDirectory(prefix="janus-edge-") as folder,
        Janus.load(bundle, threads=threads) as reference,
        progress_bar(transient=True) as bars,
    ):
        task = bars.add_task("", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total)

        each = variants(parent, groups, wanted, calibration, Path(folder), threads=threads)
        measured = measure(reference, each, MeasuringOptions(), progress)
    if not measured:
        raise InputError(f"recipe '{wanted.name}' quantises none of these groups")
    proposed = propose(measured, groups, wanted, min(keep, len(measured)))
    if mixed:
        write_recipe(Path(mixed), proposed.rules)
    if as_json:
        from janus_edge.schema import to_dict

        print_json(
            {"recipe": to_dict(wanted), "groups": to_dict(measured), "mixed": to_dict(proposed)}
        )
        return
    _show(measured, wanted.name)
    if mixed:
        kept = len(proposed.rules) - len(wanted.rules)
        click.echo(f"{mixed}: {wanted.name} with {kept} groups in float")


def _show(measured: list[GroupSensitivity], recipe: str) -> None:
    rows = []
    vq = any(one.psnr_db < 200 or one.equal_codes < 1 for one in measured)
    for one in sorted(measured, key=lambda one: -one.image_kl - one.text_kl):
        row = [one.group, f"{one.image_kl:.1e}", f"{one.image_top1:.1%}", f"{one.text_kl:.1e}"]
        if vq:
            row.append("" if one.psnr_db >= 200 else f"{one.psnr_db:.1f}")
            row.append("" if one.equal_codes == 1 else f"{one.equal_codes:.1%}")
        rows.append(row)
    columns = ["group", "image KL>", "top-1>", "text KL>"]
    columns += ["VQ PSNR dB>", "equal codes>"] if vq else []
    print_table(f"each group alone in {recipe}, against float; KL in nats", columns, rows)
