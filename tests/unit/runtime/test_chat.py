"""Conversations: turns on one cache against the whole conversation from scratch, on the fake model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus_edge.errors import CapacityError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.chat import Chat
from janus_edge.runtime.picture import Answer
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import DEFAULT_SYSTEM_PROMPT
from tests.unit.runtime.fakes import CONFIG, SPECIAL, FakeBackend, fake_janus, hidden_of, logits

T = CONFIG.image_tokens
ROOM = 700


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def janus(tmp_path: Path, backend: FakeBackend) -> Janus:
    return fake_janus(tmp_path / "bundle", backend)


def picture(grey: int) -> Image.Image:
    return Image.new("RGB", (20, 9), (grey, 30, 200))


def conversation_ids(janus: Janus, *messages: str) -> list[int]:
    """The original's template over question, answer, question, ... tokenised at once.

    Every image is written as its tag in the text.
    """
    text = f"{DEFAULT_SYSTEM_PROMPT}\n\n"
    for index, message in enumerate(messages):
        role = janus.tokenizer.roles[index % 2]
        text += f"{role}: {message}" + ("<｜end▁of▁sentence｜>" if index % 2 else "\n\n")
    ids: list[int] = [SPECIAL.bos]
    for token in janus.tokenizer.encode(f"{text}{janus.tokenizer.roles[1]}:"):
        image = [SPECIAL.image_start, *[SPECIAL.image_placeholder] * T, SPECIAL.image_end]
        ids += image if token == SPECIAL.image_placeholder else [token]
    return ids


def plain_answer(janus: Janus, ids: list[int], pictures: list[Image.Image], new: int) -> list[int]:
    """Greedy decoding of the whole row at every step, without a cache or a conversation."""
    row, tokens = np.array(janus.embed_prompt(ids, pictures)), []
    for _ in range(new):
        token = int(logits(hidden_of(row)[-1:], CONFIG.language.vocab_size).argmax())
        if token == SPECIAL.eos:
            break
        tokens.append(token)
        row = np.concatenate([row, janus.text_embeddings([token])])
    return tokens


def say(janus: Janus, backend: FakeBackend, text: str, *, stop: bool = True) -> list[int]:
    """Make the model say ``text`` (as the template has it, behind a space) and stop."""
    ids = janus.tokenizer.encode(f" {text}")
    backend.script = [*ids, SPECIAL.eos] if stop else [*ids]
    return ids


@pytest.mark.parametrize("stopped", [True, False])
def test_turns_equal_the_whole_conversation(
    janus: Janus, backend: FakeBackend, stopped: bool
) -> None:
    """The third answer is the one that the whole conversation, tokenised afresh, asks for: whether
    the earlier answers ended with EOS or were cut off; and it takes the same positions."""
    chat = janus.chat(capacity=ROOM)
    for question, answer in (("what is this?", "a red house"), ("and that?", "the lake")):
        ids = say(janus, backend, answer, stop=stopped)
        said = chat.ask(question, max_new_tokens=len(ids) + stopped)
        assert said.text == answer
        assert said.token_ids == tuple(ids)
        assert said.finish_reason == ("stop" if stopped else "length")
    found = chat.ask("why?", max_new_tokens=12)
    whole = conversation_ids(janus, "what is this?", "a red house", "and that?", "the lake", "why?")
    assert found.prompt_tokens == len(whole)
    assert found.token_ids == tuple(plain_answer(janus, whole, [], 12))
    assert len(set(found.token_ids)) > 5


def test_a_turn_costs_its_own_tokens_only(janus: Janus, backend: FakeBackend) -> None:
    """The second question runs the model over its own tokens and no others."""
    chat = janus.chat(capacity=ROOM)
    say(janus, backend, "a red house")
    chat.ask("what is this?")
    held = chat.positions[0]
    session = backend.session(Graph.LANGUAGE_MODEL)
    before = session.runs
    second = chat.ask("and that?", max_new_tokens=1)
    assert session.runs == before + 1
    assert chat.positions == (second.prompt_tokens, ROOM)
    tail = janus.tokenizer.encode("<|User|>: and that?\n\n<|Assistant|>:")
    assert second.prompt_tokens - held == len(tail) + 1  # and the EOS in front


def test_images_in_any_turn(janus: Janus, backend: FakeBackend) -> None:
    """Pictures of the first and of later turns, in front or at their placeholders, are what a run
    over the whole conversation has at these places."""
    first, second, third = picture(10), picture(120), picture(250)
    chat = janus.chat(capacity=ROOM)
    say(janus, backend, "a house")
    chat.ask("what is this?", first)
    say(janus, backend, "yes")
    chat.ask("is <image_placeholder> like <image_placeholder>", [second, third])
    found = chat.ask("why?", [first], max_new_tokens=10)
    tag = "<image_placeholder>"
    whole = conversation_ids(
        janus, f"{tag}\nwhat is this?", "a house", f"is {tag} like {tag}", "yes", f"{tag}\nwhy?"
    )
    expected = plain_answer(janus, whole, [first, second, third, first], 10)
    assert found.token_ids == tuple(expected)
    exchanged = plain_answer(janus, whole, [first, third, second, first], 10)
    assert exchanged != expected


def test_stop_or_length(janus: Janus, backend: FakeBackend) -> None:
    """EOS as the last token that is allowed is a stop; one token more to say is a length."""
    ids = say(janus, backend, "the lake")
    assert janus.chat().ask("a", max_new_tokens=len(ids) + 1).finish_reason == "stop"
    say(janus, backend, "the lake")
    cut = janus.chat().ask("a", max_new_tokens=len(ids))
    assert (cut.finish_reason, cut.text) == ("length", "the lake")


def test_an_empty_answer(janus: Janus, backend: FakeBackend) -> None:
    """EOS at once is an empty answer, and the conversation goes on."""
    chat = janus.chat(capacity=ROOM)
    backend.script = [SPECIAL.eos]
    asked = chat.ask("what is this?")
    assert asked == Answer("", (), "stop", asked.prompt_tokens)
    say(janus, backend, "yes")
    assert chat.ask("and that?").text == "yes"


def test_stream_pieces_join_to_the_answer(janus: Janus, backend: FakeBackend) -> None:
    """Pieces are handed out as they come, never split a character, and join to the text; the
    answer is there only when they have ended."""
    say(janus, backend, "caf\u00e9 \u732b yes")
    stream = janus.chat(capacity=ROOM).stream("what is this?")
    pieces = [next(stream)]
    with pytest.raises(InputError, match="not complete"):
        _ = stream.answer
    pieces += stream
    assert "".join(pieces) == stream.answer.text == "caf\u00e9 \u732b yes"
    assert not pieces[0].startswith(" ")
    assert all("\ufffd" not in piece for piece in pieces)
    assert len(pieces) > 3
    assert stream.answer.finish_reason == "stop"


def test_an_answer_cut_inside_a_character(janus: Janus, backend: FakeBackend) -> None:
    """Where the limit falls inside a character, stream and answer both end in one U+FFFD."""
    ids = say(janus, backend, "ab \u732b", stop=False)
    stream = janus.chat(capacity=ROOM).stream("a", max_new_tokens=len(ids) - 1)
    assert "".join(stream) == stream.answer.text == "ab \ufffd"


@pytest.mark.parametrize("pieces", [1, 3])
def test_closing_a_stream_early(janus: Janus, backend: FakeBackend, pieces: int) -> None:
    """A closed stream runs the model no further, answers with what was said, and the next question
    goes on behind exactly that."""
    chat = janus.chat(capacity=ROOM)
    say(janus, backend, "a red house by the lake in the evening light")
    with chat.stream("what is this?") as stream:
        heard = "".join(next(stream) for _ in range(pieces))
    runs, backend.script = backend.session(Graph.LANGUAGE_MODEL).runs, []
    assert list(stream) == []
    assert backend.session(Graph.LANGUAGE_MODEL).runs == runs
    assert stream.answer.text == heard.strip()
    assert stream.answer.finish_reason == "length"
    found = chat.ask("why?", max_new_tokens=8)
    first = conversation_ids(janus, "what is this?")
    row = [*first, *stream.answer.token_ids, SPECIAL.eos]
    row += janus.tokenizer.encode("<|User|>: why?\n\n<|Assistant|>:")
    assert found.prompt_tokens == len(row)
    assert found.token_ids == tuple(plain_answer(janus, row, [], 8))


@pytest.mark.parametrize("pieces", [0, 2])
def test_a_new_question_while_an_answer_is_open(
    janus: Janus, backend: FakeBackend, pieces: int
) -> None:
    """Asking again ends the answer that is still open, as close() does: it says no more, and the
    new answer is that of a conversation in which it was closed."""

    def asked(*, close: bool) -> tuple[Answer, Answer]:
        chat = janus.chat(capacity=ROOM)
        say(janus, backend, "a red house by the lake")
        stream = chat.stream("what is this?")
        for _ in range(pieces):
            next(stream)
        backend.script = []
        if close:
            stream.close()
        second = chat.stream("why?", max_new_tokens=8)
        assert list(stream) == []
        for _ in second:
            pass
        return stream.answer, second.answer

    assert asked(close=False) == asked(close=True)


def test_a_stream_never_started(janus: Janus) -> None:
    """A stream that is closed before its first piece leaves the conversation as it was."""
    chat = janus.chat(capacity=ROOM)
    chat.stream("what is this?").close()
    assert chat.positions == (0, ROOM)
    assert chat.ask("why?", max_new_tokens=5) == janus.chat(capacity=ROOM).ask(
        "why?", max_new_tokens=5
    )


def started(janus: Janus, backend: FakeBackend) -> Chat:
    chat = janus.chat(capacity=ROOM)
    say(janus, backend, "a house", stop=False)
    chat.ask("what is this?", max_new_tokens=2)
    backend.script = []
    return chat


def test_a_refused_question_changes_nothing(janus: Janus, backend: FakeBackend) -> None:
    """After questions that are refused (no room, bad image, wrong number of images, bad settings)
    the conversation goes on as if they had not been asked."""
    chat, plain = started(janus, backend), started(janus, backend)
    held = chat.positions
    with pytest.raises(CapacityError, match=r"the question needs \d+ more .* holds \d+ of 700"):
        chat.ask("a" * 2000)
    with pytest.raises(CapacityError, match="the question"):
        chat.ask("what?", [picture(1)] * (ROOM // T))
    with pytest.raises(InputError):
        chat.ask("what?", "nowhere.png")
    with pytest.raises(InputError, match="2 <image_placeholder> and 1 images"):
        chat.ask("<image_placeholder> <image_placeholder>", picture(1))
    for settings in ({"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"seed": -1}):
        with pytest.raises(InputError):
            chat.ask("what?", **settings)  # type: ignore[arg-type]
    assert chat.positions == held
    assert chat.ask("why?", max_new_tokens=6) == plain.ask("why?", max_new_tokens=6)


def test_a_failing_question_repeats_nothing(
    janus: Janus, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that fails in the prefill leaves the conversation as it was: no token of the
    question, nor the last one of the answer before it, is in the cache twice."""
    chat, plain = started(janus, backend), started(janus, backend)
    held = chat.positions
    session = backend.session(Graph.TEXT_HEAD)
    monkeypatch.setattr(session, "_function", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        chat.ask("what is that?")
    monkeypatch.undo()
    assert chat.positions == held
    assert chat.ask("why?", max_new_tokens=6) == plain.ask("why?", max_new_tokens=6)


def test_full_in_mid_answer(janus: Janus, backend: FakeBackend) -> None:
    """An answer that reaches the end of the cache ends with 'length' instead of an error, uses
    every position, and further questions are refused."""
    need = len(conversation_ids(janus, "what is this?"))
    chat = janus.chat(capacity=need + 4)
    answer = chat.ask("what is this?")
    assert answer.finish_reason == "length"
    assert len(answer.token_ids) == 4 + 1  # the last one needs no position
    assert chat.positions == (need + 4, need + 4)
    with pytest.raises(CapacityError):
        chat.ask("why?")
    full = janus.chat(capacity=need).ask("what is this?")
    assert full.token_ids == answer.token_ids[:1]
    with pytest.raises(CapacityError):
        janus.chat(capacity=need - 1).ask("what is this?")


def test_sampling_is_repeatable_and_differs_between_turns(
    janus: Janus, backend: FakeBackend
) -> None:
    """The same seed gives the same conversation; the same question later draws other tokens."""

    def talk(seed: int) -> list[tuple[int, ...]]:
        chat = janus.chat(capacity=ROOM)
        return [
            chat.ask("a", max_new_tokens=8, temperature=2.0, seed=seed).token_ids for _ in range(2)
        ]

    one = talk(1)
    assert one == talk(1)
    assert one != talk(2)
    assert one[0] != one[1]


def test_own_system_prompt(janus: Janus) -> None:
    """A conversation may have another system prompt, or none."""
    plain = janus.chat(system_prompt="").ask("why?", max_new_tokens=1)
    whole = [SPECIAL.bos, *janus.tokenizer.encode("<|User|>: why?\n\n<|Assistant|>:")]
    assert plain.prompt_tokens == len(whole)
    assert plain.token_ids == tuple(plain_answer(janus, whole, [], 1))
