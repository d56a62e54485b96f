"""Opening and reading checkpoints: every layout, every damage, and the memory it takes."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from janus_edge.errors import CheckpointError
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.hub import locate
from janus_edge.export.synthetic import DIMENSIONS, draw_weight, write_synthetic_checkpoint
from janus_edge.export.weight_names import EMBEDDING, TEXT_HEAD, Format, expected_shapes

TINY = DIMENSIONS["tiny"]
SHARD = 400_000
Kind = Literal["safetensors", "bin"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Checkpoints by (format, weights, sharded), each written once."""
    root = tmp_path_factory.mktemp("checkpoints")

    def make(file_format: Format, weights: Kind, sharded: bool = False) -> Path:
        folder = root / f"{file_format}-{weights}-{sharded}"
        if not folder.exists():
            write_synthetic_checkpoint(
                folder,
                TINY,
                format=file_format,
                weights=weights,
                shard_bytes=SHARD if sharded else 1 << 30,
            )
        return folder

    return make


@pytest.fixture
def copied(made: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a checkpoint that a test may damage."""

    def copy(file_format: Format = "transformers", weights: Kind = "safetensors",
             sharded: bool = False) -> Path:  # fmt: skip
        return Path(shutil.copytree(made(file_format, weights, sharded), tmp_path / "checkpoint"))

    return copy


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("weights", ["safetensors", "bin"])
@pytest.mark.parametrize("file_format", ["transformers", "deepseek-ai"])
def test_every_layout_gives_the_same_weights(
    made: Callable[..., Path], file_format: Format, weights: Kind, sharded: bool
) -> None:
    """Every canonical name gives the same tensor, whatever the format and the files."""
    folder = made(file_format, weights, sharded)
    assert (len(list(folder.glob(f"*.{weights}"))) > 2) == sharded
    checkpoint = Checkpoint.open(str(folder))
    shapes = expected_shapes(TINY)
    assert checkpoint.format == file_format
    assert checkpoint.config == TINY
    assert checkpoint.name == folder.name
    assert checkpoint.special_tokens.image_start == 259
    assert list(checkpoint.names()) == list(shapes)
    for name in checkpoint.names():
        tensor = checkpoint.tensor(name)
        assert tensor.is_contiguous()
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, draw_weight(name, shapes[name], torch.bfloat16, seed=0)), name


def test_own_memory(made: Callable[..., Path]) -> None:
    """A caller may change what it got: the next read is unchanged."""
    for weights in ("safetensors", "bin"):
        checkpoint = Checkpoint.open(made("transformers", weights))
        checkpoint.tensor(TEXT_HEAD).zero_()
        assert checkpoint.tensor(TEXT_HEAD).any()


def test_safetensors_before_bin(made: Callable[..., Path], copied: Callable[..., Path]) -> None:
    """With both kinds of weights in the folder the safetensors are used."""
    folder = copied()
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    Checkpoint.open(folder)


def test_digest(made: Callable[..., Path], copied: Callable[..., Path]) -> None:
    """Equal files give equal digests; one changed byte of any file gives another."""
    folder = copied()
    digest = Checkpoint.open(folder).digest()
    assert digest == Checkpoint.open(made("transformers", "safetensors")).digest()
    assert len(digest) == 64
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(before + b" " if name.endswith("json") else before[:-1] + b"\x01")
        assert Checkpoint.open(folder).digest() != digest
        path.write_bytes(before)
    assert Checkpoint.open(folder).digest() == digest


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def test_surplus_of_published_files(copied: Callable[..., Path]) -> None:
    """Pooling head, codebook statistics and saved buffers are ignored, whatever their dtype."""
    folder = copied("deepseek-ai")
    extra = {
        "vision_model.vision_tower.attn_pool.latent": torch.zeros(1, 1, 48),
        "gen_vision_model.quantize.codebook_used": torch.zeros(65536, dtype=torch.int64),
        "language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8),
    }
    edit_weights(folder, lambda state: state.update(extra))
    Checkpoint.open(folder)


def test_tied_head(copied: Callable[..., Path]) -> None:
    """Without lm_head a tied model uses the embedding; an untied one is incomplete."""
    folder = copied()
    edit_weights(folder, lambda state: state.pop(TEXT_HEAD))
    with pytest.raises(CheckpointError, match=r"1 weight is missing: lm_head\.weight"):
        Checkpoint.open(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    checkpoint = Checkpoint.open(folder)
    assert torch.equal(checkpoint.tensor(TEXT_HEAD), checkpoint.tensor(EMBEDDING))


def test_tied_head_that_is_there(copied: Callable[..., Path]) -> None:
    """A head in the file counts, whatever the configuration says about tying."""
    folder = copied()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    checkpoint = Checkpoint.open(folder)
    assert not torch.equal(checkpoint.tensor(TEXT_HEAD), checkpoint.tensor(EMBEDDING))


WRONG_WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "missing": (
        lambda s: [s.pop(n) for n in list(s) if "mlp.fc1" in n],
        r"4 weights are missing: model\.vision_model\.encoder\.layers\.0\.mlp\.fc1\.weight",
    ),
    "surplus": (
        lambda s: s.update({f"lora_{i}": torch.zeros(1) for i in range(9)}),
        r"9 weights are not part of the model: lora_0, lora_1, lora_2, lora_3, \.\.\.",
    ),
    "misshapen": (
        lambda s: s.update({TEXT_HEAD: torch.zeros(512, 32)}),
        r"lm_head\.weight \(\[512, 32\] instead of \[512, 64\]\)",
    ),
    "dtype": (
        lambda s: s.update({TEXT_HEAD: torch.zeros(512, 64, dtype=torch.int8)}),
        r"not float32, float16 or bfloat16: lm_head\.weight \(I8\)",
    ),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_wrong_weights(copied: Callable[..., Path], case: str) -> None:
    """Missing, surplus, misshapen and quantised weights are named and counted at open."""
    change, message = WRONG_WEIGHTS[case]
    folder = copied()
    edit_weights(folder, change)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(folder)


HEADERS = {
    "empty": b"",
    "length": struct.pack("<Q", 1 << 60) + b"{}",
    "json": struct.pack("<Q", 4) + b"{{{{",
    "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "list": struct.pack("<Q", 2) + b"[]",
    "entry": struct.pack("<Q", 9) + b'{"a": 1} ',
    "offsets": struct.pack("<Q", 56)
    + b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[-4,0]}} ',
    "size": struct.pack("<Q", 56) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}  ' + bytes(4),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_corrupt_header(copied: Callable[..., Path], case: str) -> None:
    """A safetensors header that lies or cannot be parsed is found at open."""
    folder = copied()
    (folder / "model.safetensors").write_bytes(HEADERS[case])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_truncated(copied: Callable[..., Path], weights: Kind, keep: float) -> None:
    """A file that was cut anywhere is found at open."""
    path = next(copied("transformers", weights).glob(f"*.{weights}"))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=f"{path.name}.*download it again"):
        Checkpoint.open(path.parent)


def test_truncated_after_open(copied: Callable[..., Path]) -> None:
    """A file that shrinks under us is an error, not a tensor of garbage."""
    folder = copied()
    checkpoint = Checkpoint.open(folder)
    os.truncate(folder / "model.safetensors", 100_000)
    with pytest.raises(CheckpointError, match="ends inside"):
        [checkpoint.tensor(name) for name in checkpoint.names()]


class _Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_with_code(copied: Callable[..., Path], tmp_path: Path, legacy: bool) -> None:
    """Code in a .bin is refused and not run."""
    folder, ran = copied("transformers", "bin"), tmp_path / "ran"
    path = folder / "pytorch_model.bin"
    if legacy:
        path.write_bytes(pickle.dumps({"a": _Hostile(ran)}, protocol=2))
    else:
        torch.save({"a": _Hostile(ran)}, path)
    with pytest.raises(CheckpointError, match="Python code"):
        Checkpoint.open(folder)
    assert not ran.exists()


def test_bin_of_something_else(copied: Callable[..., Path]) -> None:
    """A .bin that is not a dictionary of tensors is refused."""
    folder = copied("transformers", "bin")
    torch.save({"step": 3}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a dictionary of weights"):
        Checkpoint.open(folder)


def test_legacy_bin(copied: Callable[..., Path]) -> None:
    """A .bin of the format before PyTorch 1.6, which cannot be mapped, is read too."""
    folder = copied("transformers", "bin")
    path = folder / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert torch.equal(Checkpoint.open(folder).tensor(TEXT_HEAD), state[TEXT_HEAD])


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_missing_shard(copied: Callable[..., Path], weights: Kind) -> None:
    """A shard that the index names must be there."""
    folder = copied("transformers", weights, True)
    next(folder.glob(f"*-00002-of-*.{weights}")).unlink()
    with pytest.raises(CheckpointError, match=r"00002.*missing"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", 7])
def test_shard_outside(copied: Callable[..., Path], shard: object) -> None:
    """A shard is a file in the folder, never a path."""
    folder = copied("transformers", "safetensors", True)
    shutil.copy(folder / "model-00001-of-00008.safetensors", folder.parent / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"][TEXT_HEAD] = shard
    index.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"index\.json"):
        Checkpoint.open(folder)


def test_index_that_lies(copied: Callable[..., Path]) -> None:
    """The index must be JSON and name the shard that holds a weight."""
    folder = copied("transformers", "safetensors", True)
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"][TEXT_HEAD] = data["weight_map"]["model.aligner.fc1.bias"]
    index.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="where it is not"):
        Checkpoint.open(folder)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="not a readable list of shards"):
        Checkpoint.open(folder)


def test_links_of_the_hub_cache(copied: Callable[..., Path], tmp_path: Path) -> None:
    """Files may be links, as in the hub's cache; only names in the index are restricted."""
    folder, cache = copied("transformers", "safetensors", True), tmp_path / "cache"
    cache.mkdir()
    for file in folder.iterdir():
        (cache / file.name).symlink_to(file)
    Checkpoint.open(cache)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer.json"),
        ("model.safetensors", "no weights"),
    ],
)
def test_missing_file(copied: Callable[..., Path], file: str, message: str) -> None:
    """Each of the three kinds of files is asked for by name."""
    folder = copied()
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(folder)


def test_tokenizer_of_another_model(copied: Callable[..., Path]) -> None:
    """The tokenizer must be readable, have Janus' special tokens, and fit the vocabulary."""
    path = copied() / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<begin_of_image>", "<image>"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks <begin_of_image>"):
        Checkpoint.open(path.parent)
    path.write_text(
        text.replace('"<end_of_image>": 261', '"<end_of_image>": 512').replace(
            '"id": 261', '"id": 512'
        ),
        encoding="utf-8",
    )
    with pytest.raises(CheckpointError, match="<end_of_image> = 512 is outside"):
        Checkpoint.open(path.parent)
    path.write_text("{}")
    with pytest.raises(CheckpointError, match="not a readable tokenizer"):
        Checkpoint.open(path.parent)


@pytest.mark.parametrize("name", ["./x", "/no/such", "a/b/c", "../x", "x", "a/", ""])
def test_no_such_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like a path and is none is never looked up on the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("hub"))
    with pytest.raises(CheckpointError, match=r"no such folder|no config\.json"):
        Checkpoint.open(name)
    with pytest.raises(CheckpointError, match="no such folder"):
        Checkpoint.open(Path("org/name"))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        Checkpoint.open("model.safetensors")


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_hub(made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, weights: Kind) -> None:
    """A hub id is downloaded: safetensors, and .bin only where there are none."""
    asked: list[list[str]] = []

    def download(repo: str, *, allow_patterns: list[str]) -> str:
        assert repo == "deepseek-ai/Janus-Pro-1B"
        asked.append(allow_patterns)
        return str(made("deepseek-ai", weights))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert Checkpoint.open("deepseek-ai/Janus-Pro-1B").name == "deepseek-ai/Janus-Pro-1B"
    assert len(asked) == (1 if weights == "safetensors" else 2)
    assert all({"config.json", "tokenizer.json"} <= set(patterns) for patterns in asked)


def test_hub_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed download says what failed and what to do without a network."""

    def download(repo: str, **_: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(CheckpointError, match=r"ConnectionError: no route.*another machine"):
        Checkpoint.open("org/name")


READ_ALL = """
import sys
from janus_edge.export import weight_files
from janus_edge.export.checkpoint import Checkpoint
weight_files.MAPPED_BYTES = 64 << 20
def peak():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
checkpoint = Checkpoint.open(sys.argv[1])
before = peak()
for name in checkpoint.names():
    checkpoint.tensor(name)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_reading_does_not_accumulate(tmp_path: Path, weights: Kind) -> None:
    """Reading a whole checkpoint takes memory for its largest tensor and one mapping, no more."""
    folder = write_synthetic_checkpoint(
        tmp_path, DIMENSIONS["1b"], weights=weights, shard_bytes=512 << 20
    )
    largest = 102400 * 2048 * 2
    run = [sys.executable, "-c", READ_ALL, str(folder)]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout) * 1024
    mapped = (64 << 20) + largest if weights == "bin" else 0
    assert grown < 1.3 * (largest + mapped)


def test_the_shipped_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """'miniature' is the checkpoint inside the package, unless a folder of that name is here."""
    monkeypatch.chdir(tmp_path)
    folder, name = locate("miniature")
    assert name == "miniature"
    assert (folder / "model.safetensors").is_file()
    assert folder.parent.name == "janus_edge"
    (tmp_path / "miniature").mkdir()
    assert locate("miniature")[0] == Path("miniature")
