"""What each noun of a prompt names, token by token: labels for a probe of stage 3.

Codes of pictures alone do not teach a small model to read a prompt as more than a bag of words:
after 5000 steps pictures of 'a red square and a blue star' were exactly as likely as of 'a blue
square and a red star' (0.01 nats apart; the same for 'above' and its reverse). Labels on the nouns
make the words before them one thing that the positions of the picture can look up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from janus_edge.runtime.prompts import Tokenizer
from janus_edge.shapes.scene import COLOURS, SHAPES
from janus_edge.shapes.words import plural

_RELATIONS = (("left",), ("right",), ("above", "over"), ("below", "under"))
#: Classes of each label: the noun's shape and colour, its relation to the noun before, and that
#: noun's shape and colour. 0 is 'none'.
LABELS = (
    len(SHAPES) + 1, len(COLOURS) + 1, len(_RELATIONS) + 1, len(SHAPES) + 1, len(COLOURS) + 1,
)  # fmt: skip


class Names:
    """Reads prompts by the tokens of the world's words; raises ValueError if a word has several."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        def token(word: str) -> int:
            found = tokenizer.encode(" " + word)
            if len(found) != 1:
                raise ValueError(f"{word!r} is {len(found)} tokens, not one")
            return found[0]

        self._shapes = {token(w): 1 + i for i, s in enumerate(SHAPES) for w in (s, plural(s))}
        self._colours = {token(colour): 1 + i for i, colour in enumerate(COLOURS)}
        self._relations = {token(w): 1 + i for i, words in enumerate(_RELATIONS) for w in words}

    def __call__(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """Labels [S, 5] of a prompt's tokens [S], as in LABELS; -1 where a token is no noun."""
        labels = np.full((len(ids), len(LABELS)), -1, np.int64)
        colour = relation = 0
        before = (0, 0)
        for i, token in enumerate(ids):
            colour = self._colours.get(token, colour)
            relation = self._relations.get(token, relation)
            shape = self._shapes.get(token)
            if shape:
                labels[i] = shape, colour, relation, *(before if relation else (0, 0))
                before, colour, relation = (shape, colour), 0, 0
        return labels

    def asked(
        self, ids: Sequence[int], targets: Sequence[int], shows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """For each token [S] that foretells one of an answer: the patches that its question means.

        ``targets`` [S] are -100 outside of answers, ``shows`` [256, 2] shape and colour of patches
        (0 none). Patches have every attribute that the question names; a question that names none,
        or what is not there, means none. Returns bool [S, 256].
        """
        found = np.zeros((len(ids), len(shows)), bool)
        shape = colour = 0
        for i, (token, target) in enumerate(zip(ids, targets, strict=True)):
            answering = target >= 0
            if not answering and i and targets[i - 1] >= 0:
                shape = colour = 0  # the next question
            if answering and (shape or colour):
                named = np.array([shape, colour])
                found[i] = ((named == 0) | (shows == named)).all(1)
            elif not answering:
                shape = self._shapes.get(token, shape)
                colour = self._colours.get(token, colour)
        return found
