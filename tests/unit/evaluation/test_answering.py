"""Questions about drawn scenes: each is asked once, and exactly the right answers count."""

from __future__ import annotations

import pytest

from janus_edge.evaluation.answering import answer, questions
from janus_edge.evaluation.options import Options
from janus_edge.shapes.questions import KINDS, right
from tests.unit.evaluation.fakes import FakeJanus

OPTIONS = Options(questions=6, prompts=1)


def test_counts() -> None:
    """Of 6 rounds of 7 kinds: every answer to the first kind is wrong, and one to the last."""

    def lie(number: int, truth: str) -> str:
        wrong = number % 7 == 0 or number == 6
        return "no idea" if wrong else f" {truth.capitalize()}."

    janus, told = FakeJanus(OPTIONS, lie=lie), []
    found = answer(janus, OPTIONS, lambda *progress: told.append(progress))  # type: ignore[arg-type]
    assert {kind: share.right for kind, share in found.kinds.items()} == dict(
        zip(KINDS, (0, 6, 6, 6, 6, 6, 5), strict=True)
    )
    assert all(share.total == 6 for share in found.kinds.values())
    assert (found.overall.right, found.overall.total) == (35, 42)
    assert found.overall.share == pytest.approx(35 / 42)
    assert found.overall.low < found.overall.share < found.overall.high
    wrong = [asked for asked in found.answers if not asked.right]
    assert len(wrong) == 7
    assert {asked.said for asked in wrong} == {"no idea"}
    assert all(asked.expected != "no idea" and asked.question for asked in wrong)
    assert told == [(7 * i, 42) for i in range(7)]


@pytest.mark.parametrize("kind", KINDS)
def test_questions(kind: str) -> None:
    """They are of their kind and answered by their answer; the first n of more are the same."""
    asked = questions(kind, 5, seed=2)
    assert len(asked) == 5
    assert all(q.kind == kind and right(q, q.answer) for _, q in asked)
    assert asked[:3] == questions(kind, 3, seed=2) != questions(kind, 3, seed=1)
    assert len({scene for scene, _ in asked}) == 5, "each has a scene of its own"
