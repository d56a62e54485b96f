"""`janus-edge reconstruct`."""

from __future__ import annotations

import math
from pathlib import Path

import click

from janus_edge.atomic_file import written_aside
from janus_edge.cli.console import print_json
from janus_edge.errors import InputError


@click.command(short_help="Turn an image into codes and back.")
@click.argument("bundle", type=click.Path())
@click.argument("image", type=click.Path())
@click.option("-o", "--out", type=click.Path(), default="reconstruction.png", show_default=True,
              help="Where the picture goes.")  # fmt: skip
@click.option("--side-by-side", is_flag=True, help="Put what the model saw to the left of it.")
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print the codes and the error as JSON.")
def reconstruct(
    bundle: str, image: str, out: str, side_by_side: bool, threads: int, as_json: bool
) -> None:
    """Turn an IMAGE into VQ codes and back: what the painter can express of it.

    Example:  janus-edge reconstruct janus-1b photo.jpg --out photo-vq.png
    """
    import numpy as np
    from PIL import Image

    from janus_edge.runtime.image_processing import load_image, preprocess, to_image
    from janus_edge.runtime.pipeline import Janus

    target = Path(out)
    if target.suffix.lower() != ".png" or target.is_dir() or not target.absolute().parent.is_dir():
        raise InputError(f"{out}: give a .png file in an existing folder")
    with Janus.load(bundle, threads=threads) as janus:
        source = load_image(image)
        codes = janus.encode(source)
        result = janus.decode(codes)
        seen = to_image(preprocess([source], janus.bundle.manifest.config.image_size)[0])
    error = np.asarray(seen, np.float64) - np.asarray(result, np.float64)
    psnr = 10 * math.log10(255**2 / max(float(np.mean(error**2)), 1e-10))
    if side_by_side:
        pair = Image.new("RGB", (2 * seen.width, seen.height))
        pair.paste(seen, (0, 0))
        pair.paste(result, (seen.width, 0))
        result = pair
    with written_aside(target) as aside:
        result.save(aside, "PNG")
    if as_json:
        print_json({"file": str(target), "codes": codes.tolist(), "psnr_db": psnr})
    else:
        distinct = len(np.unique(codes))
        click.echo(f"{target}: {len(codes)} codes, {distinct} of them distinct, PSNR {psnr:.2f} dB")
