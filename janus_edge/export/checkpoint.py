"""A Janus checkpoint: checked when opened, then read one weight at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
import torch
from torch import Tensor

from janus_edge.bundle import sha256
from janus_edge.config import SPECIAL_TOKEN_STRINGS, JanusConfig, SpecialTokens
from janus_edge.errors import CheckpointError
from janus_edge.export.checkpoint_config import CheckpointConfig, read_config
from janus_edge.export.hub import locate
from janus_edge.export.weight_files import WeightFile, open_weight_files
from janus_edge.export.weight_names import (
    EMBEDDING,
    SURPLUS,
    TEXT_HEAD,
    Format,
    Place,
    expected_shapes,
    places,
)


class Checkpoint:
    """A checkpoint in either format, seen under the canonical names of ``weight_names``.

    Made by :meth:`open`. ``name`` is the folder's name or the hub id, ``format`` is 'deepseek-ai'
    or 'transformers'. Nothing is kept of a weight that was read; a mapped ``.bin`` stays open.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        described: CheckpointConfig,
        special_tokens: SpecialTokens,
        files: dict[str, WeightFile],
    ) -> None:
        self.folder = folder
        self.name = name
        self.config: JanusConfig = described.model
        self.format: Format = described.format
        self.special_tokens = special_tokens
        self.tokenizer_path = folder / "tokenizer.json"
        self._files = files
        self._shapes = expected_shapes(described.model)
        self._places = places(described.model, described.format)
        if described.tied_head and self._places[TEXT_HEAD].name not in files:
            self._places[TEXT_HEAD] = self._places[EMBEDDING]
        self._last: WeightFile | None = None

    @classmethod
    def open(cls, path_or_hub_id: str | Path) -> Checkpoint:
        """Open the checkpoint in a folder, or download it from the hub ('org/name').

        Configuration, tokenizer, and every weight's name, shape and dtype are checked; no values
        are read. Raises CheckpointError that says what is wrong, where, and the fix.
        """
        folder, name = locate(path_or_hub_id)
        described = read_config(folder / "config.json")
        special_tokens = _special_tokens(
            folder / "tokenizer.json", described.model.language.vocab_size
        )
        checkpoint = cls(folder, name, described, special_tokens, open_weight_files(folder))
        _check_weights(checkpoint._places.values(), checkpoint._files, folder)
        return checkpoint

    def names(self) -> Iterator[str]:
        """The canonical names of all weights."""
        return iter(self._shapes)

    def tensor(self, name: str) -> Tensor:
        """The weight with the canonical ``name``, in its canonical shape and its stored dtype.

        Read now and owned by the caller. KeyError if the model has no such weight.
        """
        place = self._places[name]
        file = self._files[place.name]
        if self._last is not None and self._last is not file:
            self._last.release()
        self._last = file
        return file.read(place.name, place.rows).reshape(self._shapes[name])

    def digest(self) -> str:
        """SHA-256 (hex) over the names and SHA-256s of the configuration, tokenizer and weights."""
        weights = {file.path for file in self._files.values()}
        paths = {self.folder / "config.json", self.tokenizer_path, *weights}
        total = hashlib.sha256()
        for path in sorted(paths, key=lambda p: p.name):
            total.update(f"{sha256(path)}  {path.name}\n".encode())
        return total.hexdigest()


def _special_tokens(path: Path, vocab_size: int) -> SpecialTokens:
    if not path.is_file():
        raise CheckpointError(
            f"no tokenizer.json in {path.parent}: download the checkpoint again, with its tokenizer"
        )
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as damaged:  # the only type that the tokenizers library raises
        raise CheckpointError(
            f"{path} is not a readable tokenizer ({damaged}): download it again"
        ) from damaged
    found = {field: tokenizer.token_to_id(text) for field, text in SPECIAL_TOKEN_STRINGS.items()}
    ids = {field: i for field, i in found.items() if i is not None}
    missing = [text for field, text in SPECIAL_TOKEN_STRINGS.items() if field not in ids]
    if missing:
        raise CheckpointError(
            f"the tokenizer lacks {', '.join(missing)}: {path}; use the tokenizer.json of a Janus"
        )
    outside = [f"{SPECIAL_TOKEN_STRINGS[f]} = {i}" for f, i in ids.items() if i >= vocab_size]
    if outside:
        raise CheckpointError(
            f"the tokenizer's {', '.join(outside)} is outside the model's vocabulary of "
            f"{vocab_size}: {path}; use the tokenizer.json that belongs to this checkpoint"
        )
    return SpecialTokens(**ids)


def _check_weights(expected: Iterable[Place], files: dict[str, WeightFile], folder: Path) -> None:
    """Raise CheckpointError unless ``files`` hold exactly what is ``expected``."""
    shapes = {place.name: place.shape for place in expected}
    problems = {
        "missing": [name for name in shapes if name not in files],
        "not part of the model": [
            name for name in files if name not in shapes and not SURPLUS.fullmatch(name)
        ],
        "of another shape than config.json says": [
            f"{name} ({list(files[name].shapes[name])} instead of {list(shape)})"
            for name, shape in shapes.items()
            if name in files and files[name].shapes[name] != shape
        ],
        "not float32, float16 or bfloat16": [
            f"{name} ({files[name].dtypes[name]})"
            for name in shapes
            if name in files and not isinstance(files[name].dtypes[name], torch.dtype)
        ],
    }
    found = [
        f"{len(names)} {'weight is' if len(names) == 1 else 'weights are'} {problem}: "
        + ", ".join(names[:4])
        + (", ..." if len(names) > 4 else "")
        for problem, names in problems.items()
        if names
    ]
    if found:
        raise CheckpointError(
            f"{folder} is not a complete, unaltered Janus checkpoint: {'; '.join(found)}. Download "
            "it again, or pass the folder with the config.json that belongs to these weights"
        )
