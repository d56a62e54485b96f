"""Paths in texts and in values: of each outside the system's own folders the last component remains."""

from __future__ import annotations

import re

#: A component may have spaces where a slash follows soon; these words say that it is a sentence.
_SAYS = (
    r"(?:is|are|was|has|have|had|holds?|lacks?|needs?|cannot|can|could|not|does|did|must|gives?|takes?"
    r"|says?|differs?|exists?|fails?|failed|to|in|at|with|than|but|see|from)"
)

_CHARACTERS = r"""[^\s'"`;,()<>|*\\]"""

#: A file's name ends a path.
_FILE = r"(?<!\.json)(?<!\.onnx)(?<!\.plan)(?<!\.npz)(?<!\.py)(?<!\.md)(?<!\.txt)(?<!\.safetensors)"

_WORD = r"[\w&+][\w&+-]*\.?"

_START = r"(?:~\w*|\.{1,2})?/"

_PATH = re.compile(
    rf"(?:(?<![\w.~/<-])|(?<=[^\w-]-[A-Za-z])|(?<=^-[A-Za-z])){_START}(?:\\.|{_CHARACTERS})+"
    rf"(?:(?<!:){_FILE}(?: (?!{_SAYS} )(?:-|{_WORD})){{0,3}} (?!\w+/s\b){_WORD}/(?:\\.|{_CHARACTERS})*)*",
    re.M,
)

_QUOTED = re.compile(rf"""(?<!\w)(['"`])({_START}[^'"`\n]+)\1""")

_BEGINS = re.compile(r"(?:~|\.{1,2})?/")

_SENTENCE = re.compile(rf"[:;,] | {_SAYS} |\s[~.]*/|\n")

#: Folders that are the same on every machine.
_SYSTEM = re.compile(r"/(?:sys|proc|dev|etc|usr|lib|bin|var/lib/nvpmodel|opt/nvidia)(?:/|$)")


def in_text(text: str) -> str:
    """``text`` with the paths in it reduced; all else stays."""
    text = _QUOTED.sub(_unless_sentence, text)
    return _PATH.sub(lambda found: _shortened(found[0]), text)


def whole(value: str) -> str:
    """The last component of the path ``value``, which may have spaces."""
    if "/" not in value or "\n" in value or _SYSTEM.match(value):
        return value
    return value.rstrip("/").rpartition("/")[2]


def is_path(value: str) -> bool:
    """Whether all of ``value`` is a path; of an error's message only the beginning is one."""
    return bool(_BEGINS.match(value)) and not _SENTENCE.search(value)


def _unless_sentence(found: re.Match[str]) -> str:
    quote, inside = found[1], found[2]
    return f"{quote}{_shortened(inside)}{quote}" if is_path(inside) else found[0]


def _shortened(path: str) -> str:
    if _SYSTEM.match(path):
        return path
    return f".../{path.rstrip('/').rpartition('/')[2]}"
