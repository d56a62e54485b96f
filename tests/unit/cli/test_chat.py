"""`janus-edge chat`: one question, and conversations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from janus_edge import Janus

Run = Callable[..., Any]
SHORT = ("--max-new-tokens", "4")


def test_one_question(janus_edge: Run, tiny_bundle: Path, photo: Path) -> None:
    """The answer on standard output is the library's, and nothing else is printed."""
    done = janus_edge("chat", tiny_bundle, "What is this?", "-i", photo, *SHORT)
    with Janus.load(tiny_bundle) as janus:
        answer = janus.describe(photo, "What is this?", max_new_tokens=4)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == answer.text
    assert len(answer.token_ids) == 4


def test_json(janus_edge: Run, tiny_bundle: Path, photo: Path) -> None:
    """The answer with its tokens, why it ended, and what the question took."""
    args = ("chat", tiny_bundle, "What is this?", "--json", *SHORT)
    without = json.loads(janus_edge(*args).out)
    with_images = json.loads(janus_edge(*args, "-i", photo, "-i", photo).out)
    assert without.keys() == {"text", "token_ids", "finish_reason", "prompt_tokens"}
    assert len(without["token_ids"]) == 4
    assert without["finish_reason"] == "length"
    # two pictures of 16 codes, their begin and end, and a line break each
    assert with_images["prompt_tokens"] >= without["prompt_tokens"] + 2 * 18


def test_json_needs_a_question(janus_edge: Run, tiny_bundle: Path) -> None:
    done = janus_edge("chat", tiny_bundle, "--json")
    assert done.code == 2
    assert "give the QUESTION as an argument" in done.error


def test_sampling_repeats(janus_edge: Run, tiny_bundle: Path) -> None:
    """The same seed draws the same answer, another seed another one."""
    args = ("chat", tiny_bundle, "hi", "--temperature", "2", "--top-p", "0.9", *SHORT)
    first, same, other = (janus_edge(*args, "--seed", s).out for s in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["hi", "--capacity", "0"], 2, "capacity must be from 1 to the model's 1024 positions"),
        (["hi", "--capacity", "1025"], 2, "capacity must be from 1 to the model's 1024 positions"),
        (["hi", "--capacity", "10"], 7, "the question needs"),
        (["hi", "--max-new-tokens", "0"], 2, "max_new_tokens must be at least 1"),
        (["hi", "--temperature", "-1"], 2, "temperature"),
        (["hi", "--top-p", "0"], 2, "top_p"),
        (["<image_placeholder> hi"], 2, "1 <image_placeholder> and 0 images were given"),
    ],
)
def test_unusable_arguments(
    janus_edge: Run, tiny_bundle: Path, args: list[str], code: int, message: str
) -> None:
    done = janus_edge("chat", tiny_bundle, *args)
    assert (done.code, done.out) == (code, "")
    assert message in done.error


def test_conversation(janus_edge: Run, tiny_bundle: Path) -> None:
    """Two turns share a cache: the answers are those of one conversation in the library."""
    done = janus_edge("chat", tiny_bundle, *SHORT, stdin="hello\nand then?\n/quit\nnever read\n")
    with Janus.load(tiny_bundle) as janus:
        chat = janus.chat(capacity=1024)
        first, second = (chat.ask(q, max_new_tokens=4) for q in ("hello", "and then?"))
    assert done.code == 0
    assert done.out == "".join(f"{answer.text}\n" for answer in (first, second)) or (
        done.out.split() == f"{first.text} {second.text}".split()
    )
    assert "/image FILE" in done.err
    assert done.err.count("you> ") == 3


def test_new_starts_over(janus_edge: Run, tiny_bundle: Path) -> None:
    """After /new the same question has the same answer; without it, it is a second turn."""
    fresh = janus_edge("chat", tiny_bundle, *SHORT, stdin="hello\n/new\nhello\n").out.splitlines()
    assert len(fresh) == 2
    assert fresh[0] == fresh[1]
    onward = janus_edge("chat", tiny_bundle, *SHORT, stdin="hello\nhello\n").out.splitlines()
    assert onward[0] == fresh[0]
    assert onward[1] != fresh[1]


def test_image_in_a_conversation(janus_edge: Run, tiny_bundle: Path, photo: Path) -> None:
    """/image goes with the next question, and with that one only."""
    done = janus_edge("chat", tiny_bundle, *SHORT, stdin=f"/image {photo}\nhello\nmore\n")
    with Janus.load(tiny_bundle) as janus:
        chat = janus.chat(capacity=1024)
        texts = [
            chat.ask("hello", photo, max_new_tokens=4).text, chat.ask("more", max_new_tokens=4).text,
        ]  # fmt: skip
    assert done.out.split() == " ".join(texts).split()
    option = janus_edge("chat", tiny_bundle, *SHORT, "-i", photo, stdin="hello\nmore\n")
    assert option.out == done.out


def test_mistakes_do_not_end_a_conversation(janus_edge: Run, tiny_bundle: Path) -> None:
    """A missing picture, an unknown command, a question that does not fit: said, and on it goes."""
    long = "word " * 1200
    stdin = f"/image nope.png\n/image\n/what\n{long}\nhello\n/quit\n"
    done = janus_edge("chat", tiny_bundle, *SHORT, stdin=stdin)
    alone = janus_edge("chat", tiny_bundle, "hello", *SHORT)
    assert done.code == 0
    assert "nope.png: no such image file" in done.err
    assert done.err.count("/image FILE") == 2
    assert "the question needs" in done.err
    assert done.out.split() == alone.out.split()


@pytest.mark.parametrize("stdin", ["", "/quit\n", "/exit\n", "hello\n", "hello"])
def test_end(janus_edge: Run, tiny_bundle: Path, stdin: str) -> None:
    """/quit, /exit and the end of the input (Ctrl-D) leave with exit code 0."""
    done = janus_edge("chat", tiny_bundle, *SHORT, stdin=stdin)
    assert done.code == 0
    assert "interrupted" not in done.err
    assert bool(done.out) == ("hello" in stdin)
