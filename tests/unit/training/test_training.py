"""What the miniature's training rests on: rows as the runtime makes them, runs that go on."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import batches
import codes
import dataset
import numpy as np
import pytest
import text
import torch
from muon import Muon, orthogonal
from run import Run
from scipy import ndimage

from janus_edge.runtime.prompts import Tokenizer, question_ids, unconditional_ids
from janus_edge.shapes.scene import COLOURS, SHAPES


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dataset.Scenes:
    folder = tmp_path_factory.mktemp("scenes")
    shown = [dataset.scene(i) for i in range(40)]
    np.save(folder / "pictures.npy", np.stack([dataset.draw(s) for s in shown]))
    np.save(folder / "scenes.npy", np.stack([dataset.encode(s) for s in shown]))
    return dataset.Scenes(folder)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    text._SAMPLE = 100
    return text.write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_scenes_survive_being_stored(scenes: dataset.Scenes) -> None:
    for i in range(len(scenes)):
        assert scenes.scene(i) == dataset.scene(i)


def test_words_of_the_world_are_tokens(tokenizer: Tokenizer) -> None:
    for word in (*SHAPES, *COLOURS, "left", "above"):
        assert len(tokenizer.encode(f" {word}")) == 1, word


def test_painting_rows(scenes: dataset.Scenes, tokenizer: Tokenizer) -> None:
    """Behind image_start come the codes, each foretold one position before; pairs share them."""
    codes = np.random.default_rng(0).integers(0, 512, (len(scenes), 256))
    batch = batches.paintings(scenes, codes, tokenizer, 5, 20, 8)
    rows, painted = [], []
    for ids, inputs, targets in zip(batch.ids, batch.codes, batch.targets, strict=True):
        start = int((inputs >= 0).nonzero()[0])
        row = ids[:start].tolist()
        assert row[-1] == tokenizer.special.image_start
        assert targets[: start - 1].eq(-100).all()
        own = targets[start - 1 : start + 255]
        assert own[:-1].equal(inputs[start : start + 255])
        assert any(np.array_equal(own, wanted) for wanted in codes)
        rows.append(row)
        painted.append(own.tolist())
    assert len(rows) == 28
    assert painted[20:] == painted[:8]
    assert rows[20:] == [unconditional_ids(row, tokenizer.special) for row in rows[:8]]
    assert not any(row == unconditional_ids(row, tokenizer.special) for row in rows[:20])


def test_questions_do_not_see_each_other(scenes: dataset.Scenes, tokenizer: Tokenizer) -> None:
    """A question asked as the first one sees exactly the runtime's row for it."""
    batch = batches.askings(scenes, tokenizer, 3, 12)
    begin = text.opening(tokenizer)
    firsts = 0
    for ids, targets, positions, mask in zip(
        batch.ids, batch.targets, batch.positions, batch.mask[:, 0], strict=True
    ):
        for end in (ids == tokenizer.special.eos).nonzero()[:, 0].tolist():
            seen = mask[end, : end + 1]
            row = ids[: end + 1][seen]
            assert positions[: end + 1][seen].equal(torch.arange(len(row)))
            assert row[: len(begin)].tolist() == begin
            answer = targets[: end + 1][seen]
            told = row[1:][answer[:-1] >= 0]
            assert told.equal(answer[answer >= 0])
            asked = tokenizer.decode(row[len(begin) :].tolist(), skip_special=False)
            if asked.count("<|Assistant|>") == 1:
                question = asked[: asked.index("<|Assistant|>")].strip()
                runtime = question_ids(tokenizer, question, 1, 256)
                assert row[: len(runtime)].tolist() == runtime
                firsts += 1
    assert firsts > 20


def test_patch_labels(scenes: dataset.Scenes) -> None:
    shown = scenes.scene(0)
    labels = batches.patch_labels(shown).reshape(16, 16, 3)
    assert labels[..., 2].sum() == len(shown.items)
    for item in shown.items:
        shape, colour, centre = labels[item.y // 4, item.x // 4]
        assert (SHAPES[shape - 1], list(COLOURS)[colour - 1], centre) == (
            item.shape,
            item.colour,
            1,
        )


def test_where_objects_begin(scenes: dataset.Scenes, tokenizer: Tokenizer) -> None:
    """Every object begins somewhere: its first patch in the order of the codes, and no inner one."""
    codes = np.zeros((len(scenes), 256), np.uint16)
    batch = batches.paintings(scenes, codes, tokenizer, 5, 20, 0)
    drawn = np.random.default_rng([21, 5]).integers(0, len(codes), 20)
    covered = (batch.labels[..., 0] > 0).numpy()
    for row, index in enumerate(drawn):
        labels = batches.patch_labels(scenes.scene(int(index)))
        assert (batch.labels[row].numpy() == labels[:, :2]).all()
        fresh = batch.fresh[row].numpy().reshape(16, 16)
        grid = covered[row].reshape(16, 16)
        islands, count = ndimage.label(grid, np.ones((3, 3)))
        for island in range(1, count + 1):
            rows, columns = np.nonzero(islands == island)
            assert fresh[rows[0], columns[0]]
        for y, x in np.argwhere(grid & ~fresh).tolist():
            before = [(y, x - 1), (y - 1, x - 1), (y - 1, x), (y - 1, x + 1)]
            assert any(grid[a, b] for a, b in before if a >= 0 and 0 <= b < 16)


def test_equal_patches_get_the_most_frequent_code(scenes: dataset.Scenes) -> None:
    """Against a plain dictionary of the patches' bytes."""
    pictures = scenes.pictures[:6]
    given = np.random.default_rng(1).integers(0, 5, (6, 256)).astype(np.uint16)
    found = codes.most_frequent(codes.contents(pictures), given)
    patches = [
        picture[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].tobytes()
        for picture in pictures
        for row in range(16)
        for column in range(16)
    ]
    counts: dict[bytes, Counter[int]] = defaultdict(Counter)
    for patch, code in zip(patches, given.ravel().tolist(), strict=True):
        counts[patch][code] += 1
    assert len(counts) < len(patches) / 4
    chosen = dict(zip(patches, found.ravel().tolist(), strict=True))
    for patch, code in zip(patches, found.ravel().tolist(), strict=True):
        assert code == chosen[patch]
        assert counts[patch][code] == max(counts[patch].values())


def test_orthogonal_updates() -> None:
    for shape in ((20, 50), (50, 20), (3, 8)):
        values = torch.linalg.svdvals(
            orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
        )
        assert values.min() > 0.3
        assert values.max() < 1.3


def _learn(folder: Path, stop: int) -> tuple[torch.Tensor, Run]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = Muon([model.weight], [model.bias], rate=0.02, adam_rate=0.01)
    run = Run(folder, "toy", model, optimizer, 60, warm_up=5)
    for step in run:
        if step == stop:
            run.save()
            break
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        loss = (model(inputs) - inputs[:, :3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.note(loss=loss.item())
    return model.weight.detach().clone(), run


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, run = _learn(tmp_path / "a", stop=1000)
    assert run.step == 60
    _learn(tmp_path / "b", stop=33)
    parts, _ = _learn(tmp_path / "b", stop=1000)
    assert parts.equal(whole)
    assert "going on from step 33" in capsys.readouterr().out
    lines = [json.loads(x) for x in (tmp_path / "a/toy.log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60]
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
