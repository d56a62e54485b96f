"""Texts that a tokenizer turns into a wanted number of tokens."""

from __future__ import annotations

from collections.abc import Callable

from janus_edge.errors import InputError

_WORDS = (
    "a red fox sitting in fresh snow beside a frozen lake, behind it a forest of old pines, "
    "in the distance blue mountains under a pale winter sky with a few thin clouds and "
)


def text_of_length(count: Callable[[str], int], wanted: int) -> str:
    """The longest beginning of a long text of which ``count`` says at most ``wanted`` tokens.

    Raises InputError when the template around an empty text already has more.
    """
    least = count("")
    if least > wanted:
        raise InputError(
            f"a prompt of {wanted} tokens: the template alone has {least}; ask for at least that"
        )
    text = _WORDS
    while count(text) <= wanted:
        text += text
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        if count(text[:middle]) <= wanted:
            low = middle
        else:
            high = middle
    return text[:low]
