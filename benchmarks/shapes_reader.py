"""How well the reader of shapes reads, against scenes whose content is known.

    python benchmarks/shapes_reader.py --scenes 2000 --seed 0 \
        --output benchmarks/results/shapes-reader.json

Right: the share of pictures, undisturbed and disturbed, in which exactly the scene's objects are
read: shapes and colours, centres within 3 pixels, radii within 2, and nothing unclear. Accepted:
the share of pictures with one object damaged that read as if it were whole: the same shapes and
colours, wherever they are, and nothing unclear; small is good. Sure: the share of those in which
nothing at all is unclear, the damaged object being read as another one or missed.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import describe, version
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from janus_edge.shapes.drawing import coverage, draw, ground
from janus_edge.shapes.reader import Reading, Seen, read
from janus_edge.shapes.scene import COLOURS, SHAPES, SIZE, Item, Scene, random_scene

Picture = NDArray[np.uint8]
Disturbance = Callable[[Picture, np.random.Generator], Picture]
Damage = Callable[[Scene, np.random.Generator], Picture]
#: Pixels between the true and the read centre, and between the radii.
CENTRE, RADIUS = 3.0, 2.0
#: Disturbances that must be read right in more than this share.
BAR, BARRED = 0.995, ("none", "noise 8", "blur 0.8, noise 5")


def whole(pixels: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def noisy(picture: Picture, rng: np.random.Generator, sigma: float) -> Picture:
    return whole(picture + rng.normal(0, sigma, picture.shape))


def blurred(picture: Picture, sigma: float) -> Picture:
    return whole(ndimage.gaussian_filter(picture.astype(float), (sigma, sigma, 0)))


def jpeg(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def halved(picture: Picture) -> Picture:
    small = Image.fromarray(picture).resize((SIZE // 2, SIZE // 2), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def shifted(picture: Picture, rng: np.random.Generator) -> Picture:
    return whole(picture + rng.uniform(-10, 10, 3))


def painted(picture: Picture, rng: np.random.Generator) -> Picture:
    return noisy(blurred(picture, 0.8), rng, 5)


def wobbly(picture: Picture, rng: np.random.Generator) -> Picture:
    """Pixels moved by half a pixel (root mean square along an axis), smoothly over 3 pixels."""
    moves = ndimage.gaussian_filter(rng.normal(size=(2, SIZE, SIZE)), (0, 3, 3), mode="wrap")
    places = np.mgrid[:SIZE, :SIZE] + 0.5 / moves.std() * moves
    channels = np.moveaxis(picture.astype(float), -1, 0)
    moved = [ndimage.map_coordinates(c, places, order=1, mode="nearest") for c in channels]
    return whole(np.stack(moved, -1))


DISTURBANCES: dict[str, Disturbance] = {
    "none": lambda picture, rng: picture,
    "noise 8": lambda picture, rng: noisy(picture, rng, 8),
    "blur 0.8, noise 5": painted,
    "JPEG 60": lambda picture, rng: jpeg(picture, 60),
    "half size and back": lambda picture, rng: halved(picture),
    "colours +-10, blur 0.8": lambda picture, rng: blurred(shifted(picture, rng), 0.8),
    "blur 1.2": lambda picture, rng: blurred(picture, 1.2),
    "wobble 0.5, blur 0.8, noise 5": lambda picture, rng: painted(wobbly(picture, rng), rng),
}


def half_erased(scene: Scene, rng: np.random.Generator) -> Picture:
    """One half of an object, left, right, upper or lower, is background."""
    item = some_item(scene, rng)
    without = whole(ground(scene.background))
    return np.where(half(item, rng)[..., None], without, draw(scene))


def merged(scene: Scene, rng: np.random.Generator) -> Picture:
    """Two objects of different colours overlap, their centres about one radius apart."""
    pairs = [(a, b) for a, b in itertools.permutations(scene.items, 2) if a.colour != b.colour]
    item, other = pairs[rng.integers(len(pairs))]
    while True:
        x, y = (int(v) for v in rng.integers(item.radius, SIZE - item.radius + 1, 2))
        if 0.8 <= np.hypot(x - other.x, y - other.y) / max(item.radius, other.radius) <= 1.2:
            return drawn_with(scene, item, replace(item, x=x, y=y))


def mixed(scene: Scene, rng: np.random.Generator) -> Picture:
    """An object's colour is half way to another colour of the palette."""
    item = some_item(scene, rng)
    other = str(rng.choice([c for c in COLOURS if c != item.colour]))
    colour = (np.array(COLOURS[item.colour]) + COLOURS[other]) / 2
    return with_mask(scene, item, coverage(item.shape, item.radius), colour)


def two_tone(scene: Scene, rng: np.random.Generator) -> Picture:
    """One half of an object has another colour of the palette."""
    item = some_item(scene, rng)
    other = str(rng.choice([c for c in COLOURS if c != item.colour]))
    recoloured = drawn_with(scene, item, replace(item, colour=other))
    return np.where(half(item, rng)[..., None], recoloured, draw(scene))


def morphed(scene: Scene, rng: np.random.Generator) -> Picture:
    """An object's mask is the mean of its own and of another shape's."""
    item = some_item(scene, rng)
    other = str(rng.choice([s for s in SHAPES if s != item.shape]))
    mask = (coverage(item.shape, item.radius) + coverage(other, item.radius)) / 2
    return with_mask(scene, item, mask, np.array(COLOURS[item.colour]))


DAMAGES: dict[str, Damage] = {
    "half erased": half_erased,
    "two merged": merged,
    "two colours": two_tone,
    "colours mixed": mixed,
    "shapes mixed": morphed,
}


def some_item(scene: Scene, rng: np.random.Generator) -> Item:
    return scene.items[rng.integers(len(scene.items))]


def half(item: Item, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The pixels [64, 64] of the left, right, upper or lower half of an object's square."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    near = np.maximum(abs(x - item.x), abs(y - item.y)) < item.radius + 1
    side = (x - item.x, item.x - x, y - item.y, item.y - y)[rng.integers(4)] > 0
    return near & side


def drawn_with(scene: Scene, item: Item, *instead: Item) -> Picture:
    others = (i for i in scene.items if i is not item)
    return draw(replace(scene, items=(*others, *instead)))


def with_mask(
    scene: Scene, item: Item, mask: NDArray[np.float32], colour: NDArray[np.floating]
) -> Picture:
    """The scene with a form of any mask [2R, 2R] and colour in the place of ``item``."""
    picture = drawn_with(scene, item).astype(float)
    reach = len(mask) // 2
    part = picture[item.y - reach : item.y + reach, item.x - reach : item.x + reach]
    part += mask[..., None] * (colour - part)
    return whole(picture)


def right(scene: Scene, reading: Reading) -> bool:
    def same(item: Item, seen: Seen) -> bool:
        off = np.hypot(seen.x - item.x, seen.y - item.y)
        looks = (item.shape, item.colour) == (seen.shape, seen.colour)
        return looks and off <= CENTRE and abs(seen.radius - item.radius) <= RADIUS

    if reading.unclear or len(reading.items) != len(scene.items):
        return False
    # objects do not touch, so no two of them can be within 3 pixels of one
    return all(any(same(item, seen) for seen in reading.items) for item in scene.items)


def accepted(scene: Scene, reading: Reading) -> bool:
    def looks(things: tuple[Item, ...] | tuple[Seen, ...]) -> Counter[tuple[str, str]]:
        return Counter((thing.shape, thing.colour) for thing in things)

    return not reading.unclear and looks(reading.items) == looks(scene.items)


def undamaged(scenes: list[Scene], seed: int) -> dict[str, dict[str, object]]:
    results: dict[str, dict[str, object]] = {}
    for number, (name, disturb) in enumerate(DISTURBANCES.items()):
        rng = np.random.default_rng((seed, 1, number))
        pictures = [disturb(draw(scene), rng) for scene in scenes]
        started = time.process_time()
        readings = [read(picture) for picture in pictures]
        seconds = time.process_time() - started
        pairs = list(zip(scenes, readings, strict=True))
        wrong = [(s, r) for s, r in pairs if not right(s, r)]
        fits = [seen.fit for r in readings for seen in r.items]
        results[name] = {
            "right": 1 - len(wrong) / len(scenes),
            "errors": dict(Counter(error(s, r) for s, r in wrong)),
            "lowest_fit": round(min(fits), 3),
            "milliseconds_a_picture": round(1e3 * seconds / len(scenes), 2),
        }
    return results


def error(scene: Scene, reading: Reading) -> str:
    """In a few words, what is wrong with a reading."""
    if reading.unclear:
        return "something unclear"
    if len(reading.items) != len(scene.items):
        return "other number of objects"
    return "other place or size" if accepted(scene, reading) else "other shape or colour"


def damaged(scenes: list[Scene], seed: int) -> dict[str, dict[str, object]]:
    results: dict[str, dict[str, object]] = {}
    for number, (name, damage) in enumerate(DAMAGES.items()):
        rng = np.random.default_rng((seed, 2, number))
        usable = scenes
        if damage is merged:
            usable = [s for s in scenes if len({item.colour for item in s.items}) > 1]
        pictures = [damage(scene, rng) for scene in usable]
        results[name] = {"scenes": len(usable)}
        for state, disturb in ((n, DISTURBANCES[n]) for n in ("none", "blur 0.8, noise 5")):
            readings = [read(disturb(picture, rng)) for picture in pictures]
            passed = sum(accepted(s, r) for s, r in zip(usable, readings, strict=True))
            sure = sum(not reading.unclear for reading in readings)
            results[name][state] = {"accepted": passed / len(usable), "sure": sure / len(usable)}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng((args.seed, 0))
    scenes = [random_scene(rng) for _ in range(args.scenes)]
    read(draw(scenes[0]))  # the templates are drawn once
    machine = describe()
    machine["versions"] |= {"scipy": version("scipy"), "pillow": version("pillow")}
    results = {
        "machine": machine,
        "command": f"python benchmarks/shapes_reader.py --scenes {args.scenes} --seed {args.seed}",
        "undamaged": undamaged(scenes, args.seed),
        "damaged": damaged(scenes, args.seed),
    }
    show(results["undamaged"], results["damaged"])
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    sys.exit(any(results["undamaged"][name]["right"] <= BAR for name in BARRED))


def show(undamaged: dict[str, dict[str, object]], damaged: dict[str, dict[str, object]]) -> None:
    print(f"{'disturbance':30}{'right':>9}{'ms':>7}{'fit >=':>8}  errors")
    for name, row in undamaged.items():
        cost, fit = row["milliseconds_a_picture"], row["lowest_fit"]
        print(f"{name:30}{row['right']:9.2%}{cost:7.2f}{fit:8.3f}  {row['errors'] or ''}")
    print(f"\n{'damage':14}{'disturbance':20}{'accepted':>10}{'sure':>9}")
    for name, row in damaged.items():
        for state in ("none", "blur 0.8, noise 5"):
            shares = row[state]
            print(f"{name:14}{state:20}{shares['accepted']:10.2%}{shares['sure']:9.2%}")


if __name__ == "__main__":
    main()
