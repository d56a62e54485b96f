"""`janus-edge quantize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import byte_tasks, print_json, print_table, size
from janus_edge.engines.target_names import TARGET_NAMES
from janus_edge.errors import DependencyError
from janus_edge.recipe import RANGE_METHODS, SCALINGS

if TYPE_CHECKING:
    from janus_edge.calib.quantizer import GraphReport


@click.command(short_help="Turn a float bundle into an INT8, INT4 or FP8 one.")
@click.argument("bundle", type=click.Path())
@click.argument("target", type=click.Path())
@click.option("--recipe", required=True,
              help="int8, fp8, int8-weight, int4-weight or nvfp4-weight, optionally followed by any of "
              "-int8-cache, -int8-heads and -int8-images; such additions alone; or a .json file with "
              "rules.")  # fmt: skip
@click.option("--for", "target_name", type=click.Choice(TARGET_NAMES),
              help="Adapt the recipe to engines of this target: for TensorRT int4 in blocks of 128.")  # fmt: skip
@click.option("--calibration", type=click.Path(), help="What `janus-edge calibrate` recorded.")
@click.option("--block", type=click.Choice(["32", "64", "128"]), help="Rows that share a scale.")
@click.option("--symmetric/--asymmetric", default=None, help="Blocks without or with zero points.")
@click.option("--ranges", type=click.Choice(RANGE_METHODS), help="How 8-bit inputs' ranges are chosen.")  # fmt: skip
@click.option(
    "--scaling", type=click.Choice(SCALINGS), help="'none' leaves SmoothQuant or AWQ out."
)
@click.option("--gptq", is_flag=True, default=None, help="GPTQ instead of rounding to nearest.")
@click.option("--force", is_flag=True, help="Replace an existing bundle once the new one is complete.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def quantize(
    bundle: str, target: str, recipe: str, target_name: str | None, calibration: str | None,
    block: str | None, symmetric: bool | None, ranges: str | None, scaling: str | None, gptq: bool | None,
    force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write BUNDLE to TARGET with weights, and some recipes' inputs, in 8 or 4 bits.

    The graphs are standard ONNX with explicit QuantizeLinear and DequantizeLinear nodes, which
    ONNX Runtime and TensorRT both read. What a recipe changes is measured with `janus-edge parity
    BUNDLE TARGET`.

    fp8 is fast only on GPUs of compute capability 8.9 and newer; nvfp4-weight runs only on 10.0 and newer.
    With --for, a recipe that the target cannot take is an error, and layers that TensorRT's blocks do
    not divide stay in float; --block overrides the target's own block size.

    Example:  janus-edge quantize janus-1b janus-1b-int4 --recipe int4-weight --calibration c.npz
    """
    try:
        from janus_edge.calib.bundle_quantizer import quantise_bundle
        from janus_edge.calib.recipes import Changes, quantised_recipe
        from janus_edge.calib.target_recipe import recipe_for
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "onnx", "calib") from missing
    from janus_edge.bundle import Bundle

    parent = Bundle.open(bundle)
    changes = Changes(int(block) if block else None, symmetric, ranges, scaling, gptq)
    if target_name:
        wanted = recipe_for(target_name, recipe, parent, changes)
    else:
        wanted = quantised_recipe(recipe, parent.manifest.recipe.float_type, changes)
    with byte_tasks() as task:
        written, reports = quantise_bundle(
            parent, target, wanted, calibration, force=force, task=task
        )
    if as_json:
        from janus_edge.schema import to_dict

        print_json(
            {"recipe": to_dict(wanted), "graphs": to_dict(reports), "bytes": written.total_bytes}
        )
        return
    _show(reports)
    click.echo(
        f"{target}: {size(written.total_bytes)}, {wanted.name}; it was {size(parent.total_bytes)}"
    )


def _show(reports: list[GraphReport]) -> None:
    rows = []
    for report in reports:
        found = [alpha for alpha in report.alphas.values() if alpha is not None]
        exponents = f"{min(found):g} to {max(found):g}" if found else ""
        unscaled = str(len(report.unscaled)) if report.unscaled else ""
        rows.append(
            (report.graph, f"{report.quantised} of {report.nodes}", str(len(found) or ""),
             exponents, unscaled)
        )  # fmt: skip
    columns = ["graph", "quantised>", "scaled inputs>", "exponents>", "not scalable>"]
    print_table("", columns, rows)
