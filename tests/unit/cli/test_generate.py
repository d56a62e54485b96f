"""`janus-edge generate` and `janus-edge reconstruct`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., Any]


def files() -> list[str]:
    return sorted(
        p.relative_to(Path.cwd()).as_posix() for p in Path.cwd().rglob("*") if p.is_file()
    )


def test_one_picture(janus_edge: Run, tiny_bundle: Path) -> None:
    """One prompt is one PNG in the present folder, whose metadata make it again."""
    prompt = "a red fox in the snow, größer 🦊"
    done = janus_edge("generate", tiny_bundle, prompt, "--seed", "7", "--guidance-scale", "3")
    assert done.code == 0
    (name,) = done.out.splitlines()
    assert files() == [name] == ["a-red-fox-in-the-snow-gr-er-7-0.png"]
    assert "1 picture in" in done.err
    with Image.open(name) as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")
        meta = dict(picture.text)
    assert meta.pop("Software").startswith("janus-edge ")
    assert meta == {
        "prompt": prompt, "seed": "7", "index": "0", "guidance_scale": "3.0", "temperature": "1.0",
    }  # fmt: skip


def test_several(janus_edge: Run, tiny_bundle: Path) -> None:
    """Several prompts and pictures are files of their own and a contact sheet, in a new folder."""
    done = janus_edge("generate", tiny_bundle, "a fox", "a fox", "?!", "-n", "2", "-o", "out")
    assert done.code == 0
    stems = ("0-a-fox", "1-a-fox", "2-picture")
    names = [f"out/{stem}-0-{index}.png" for stem in stems for index in (0, 1)]
    assert done.out.splitlines() == [*names, "out/contact-sheet-0.png"]
    assert files() == sorted([*names, "out/contact-sheet-0.png"])
    first, second, same = (Path(names[i]).read_bytes() for i in (0, 1, 2))
    assert first != second
    assert first == same, "equal prompts, seeds and numbers paint equal pictures"
    with Image.open("out/contact-sheet-0.png") as sheet:
        assert min(sheet.size) > 64


def test_json(janus_edge: Run, tiny_bundle: Path) -> None:
    """Standard output is JSON and nothing else: files, settings, codes, timings."""
    data = json.loads(janus_edge("generate", tiny_bundle, "a", "b", "--json").out)
    assert [p["file"] for p in data["pictures"]] == ["a-0-0.png", "b-0-0.png"]
    assert data["contact_sheet"] == "contact-sheet-0.png"
    assert all(len(p["codes"]) == 16 for p in data["pictures"])
    assert data["tokens_per_second"] == pytest.approx(32 / data["seconds"])
    again = json.loads(janus_edge("generate", tiny_bundle, "b", "--json").out)
    assert again["contact_sheet"] is None
    assert again["pictures"][0]["codes"] == data["pictures"][1]["codes"]


def test_several_codes_a_pass(
    janus_edge: Run, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The pictures are the same, and passes are told: in JSON always, in words if they are fewer."""
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))
    # near greedy the untrained model repeats itself, so that guesses come true
    command = ("generate", tiny_bundle, "a", "--temperature", "0.001", "--guidance-scale", "1")
    data = json.loads(janus_edge(*command, "--json").out)
    assert (data["passes"], data["codes_per_pass"]) == (15, 1)
    for width in ("4", "auto"):
        found = json.loads(janus_edge(*command, "--json", "--parallel", width).out)
        assert found["pictures"] == data["pictures"]
        assert found["codes_per_pass"] == 15 / found["passes"]
        told = janus_edge(*command, "--parallel", width).err
        words = f"{found['passes']} passes, {15 / found['passes']:.1f} codes a pass"
        assert (words in told) == (found["passes"] < 15)
    assert "codes a pass" not in janus_edge(*command).err


def test_verbose(janus_edge: Run, tiny_bundle: Path) -> None:
    """The plan of the memory goes to standard error."""
    done = janus_edge("generate", tiny_bundle, "a", "--verbose", "--no-verify", "--threads", "1")
    assert done.code == 0
    assert "KV cache, 2 rows x 64 positions" in done.err
    assert done.out == "a-0-0.png\n"


def test_one_file(janus_edge: Run, tiny_bundle: Path) -> None:
    """A name that ends in .png is the file of a single picture; a file there is replaced."""
    Path("fox.PNG").write_text("older")
    assert janus_edge("generate", tiny_bundle, "a", "-o", "fox.PNG").out == "fox.PNG\n"
    with Image.open("fox.PNG") as picture:
        assert picture.format == "PNG"
    assert files() == ["fox.PNG"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "b", "-o", "x.png"], "x.png: 2 pictures do not fit one file; give a folder"),
        (["a", "-n", "2", "-o", "x.png"], "x.png: 2 pictures do not fit one file"),
        (["a", "-o", "no/such"], "no: no such folder; create it first"),
        (["a", "-o", "no/x.png"], "no: no such folder; create it first"),
        (
            ["a", "-o", "file"],
            "file: is not a folder; give a folder, or a file name ending in .png",
        ),
        (["a", "-o", "folder.png"], "folder.png: is a folder"),
        (["b", "-o", "taken"], "taken/b-0-0.png: is a folder"),
        (["a", "c", "-o", "taken"], "taken/contact-sheet-0.png: is a folder"),
        (["a", "-n", "0"], "images_per_prompt must be at least 1, found 0"),
        (["a", "--temperature", "-1"], "temperature must be at least 0"),
        (["a", "--temperature", "nan"], "temperature must be a finite number"),
        (["a", "--guidance-scale", "inf"], "guidance_scale must be a finite number"),
        (["a", "--parallel", "0"], "parallel must be 'off', 'auto' or a number of codes"),
        (["a", "--parallel", "-3"], "found -3"),
        (["a", "--parallel", "all"], "found 'all'"),
        (["a", "--seed", "-1"], "the seed must be from 0 to"),
        (["a", "--seed", str(2**64)], "the seed must be from 0 to"),
    ],
)
def test_unusable_arguments(
    janus_edge: Run, tiny_bundle: Path, args: list[str], message: str
) -> None:
    """Exit code 2 before anything is painted, and no file is written."""
    Path("file").touch()
    for folder in ("folder.png", "taken/b-0-0.png", "taken/contact-sheet-0.png"):
        Path(folder).mkdir(parents=True)
    done = janus_edge("generate", tiny_bundle, *args)
    assert (done.code, done.out) == (2, "")
    assert message in done.error
    assert "painting" not in done.err
    assert files() == ["file"]


def test_reconstruct(janus_edge: Run, tiny_bundle: Path, photo: Path) -> None:
    """Codes and back: a picture of the model's size, or both side by side."""
    done = janus_edge("reconstruct", tiny_bundle, photo)
    assert done.code == 0
    assert done.out.startswith("reconstruction.png: 16 codes, ")
    with Image.open("reconstruction.png") as picture:
        assert picture.size == (32, 32)
    done = janus_edge(
        "reconstruct", tiny_bundle, photo, "-o", "pair.png", "--side-by-side", "--json"
    )
    data = json.loads(done.out)
    assert data["file"] == "pair.png"
    assert len(data["codes"]) == 16
    assert 0 < data["psnr_db"] < 100
    with Image.open("pair.png") as picture:
        assert picture.size == (64, 32)
    assert files() == ["pair.png", "reconstruction.png"]


@pytest.mark.parametrize("out", ["x.jpg", "x", "no/x.png", "folder.png"])
def test_reconstruct_to_an_unusable_name(
    janus_edge: Run, tiny_bundle: Path, photo: Path, out: str
) -> None:
    Path("folder.png").mkdir()
    done = janus_edge("reconstruct", tiny_bundle, photo, "-o", out)
    assert done.code == 2
    assert done.error == f"{out}: give a .png file in an existing folder"


@pytest.mark.parametrize("image", ["nope.png", ".", "text.png"])
def test_unusable_image(janus_edge: Run, tiny_bundle: Path, image: str) -> None:
    """A missing file, a folder and a text: exit code 2, and the file is named."""
    Path("text.png").write_text("no picture")
    for command in (["reconstruct", tiny_bundle, image], ["chat", tiny_bundle, "hi", "-i", image]):
        done = janus_edge(*command)
        assert (done.code, done.out) == (2, "")
        assert done.error.startswith(f"{image}: ")


def test_every_picture_has_a_name_of_its_own(janus_edge: Run, tiny_bundle: Path) -> None:
    """Whatever the prompts are: 'cat' numbered is not 'cat 0'."""
    done = janus_edge("generate", tiny_bundle, "cat", "cat", "cat 0", "-o", "out")
    assert done.code == 0
    assert len(set(done.out.splitlines())) == 4
    assert len(list(Path("out").glob("*.png"))) == 4


@pytest.mark.parametrize(
    ("bundle", "options", "words"),
    [
        ("nope", [], "no such bundle"),
        (None, ["--seed", "-1"], "seed must be from 0"),
        (None, ["-n", "100000000"], "this needs .* GiB and the machine has"),
        (None, ["--temperature", "1e-45"], "temperature must be"),
        (None, ["--guidance-scale", "1e300"], "guidance_scale must be within 1000"),
    ],
)
def test_a_refused_generation_makes_no_folder(
    janus_edge: Run, tiny_bundle: Path, bundle: str | None, options: list[str], words: str
) -> None:
    done = janus_edge("generate", bundle or tiny_bundle, "a fox", "-o", "out", *options)
    assert done.code != 0
    assert re.search(words, done.err)
    assert not Path("out").exists()


def test_other_formats_are_refused(janus_edge: Run, tiny_bundle: Path) -> None:
    """`--out fox.jpg` is no folder of that name."""
    done = janus_edge("generate", tiny_bundle, "a fox", "-o", "fox.jpg")
    assert (done.code, files()) == (2, [])
    assert "end the name in .png" in done.err
