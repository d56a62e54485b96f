"""Texts of a wanted number of tokens."""

from __future__ import annotations

import pytest

from janus_edge.bench.prompt_length import text_of_length
from janus_edge.errors import InputError


@pytest.mark.parametrize("wanted", [3, 4, 100, 2000])
def test_exactly_where_every_character_counts(wanted: int) -> None:
    assert len(text_of_length(lambda text: 3 + len(text), wanted)) == wanted - 3


def test_at_most_where_tokens_are_words() -> None:
    def words(text: str) -> int:
        return 1 + len(text.split())

    found = text_of_length(words, 50)
    assert words(found) == 50
    assert words(found + "x y") > 50


def test_less_than_the_template() -> None:
    with pytest.raises(InputError, match="2 tokens: the template alone has 3"):
        text_of_length(lambda text: 3 + len(text), 2)
