"""How far a bundle's logits are from the reference's after the reference's own codes and answers."""

from __future__ import annotations

from dataclasses import dataclass

from janus_edge.divergence import Divergence, DivergenceMeter
from janus_edge.runtime.measuring_options import MeasuringOptions, Progress
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.reference_run import ReferenceRun
from janus_edge.runtime.teacher_forcing import (
    answering_hidden_states,
    forced_logits,
    guided,
    image_logits,
    text_logits,
)


@dataclass(frozen=True, slots=True)
class ForcedDivergence:
    """The divergence of logits after the reference's own codes and answers.

    ``guided`` is that of the image logits under guidance and temperature, ``conditional`` of those
    of the prompt's row at the same temperature, ``text`` of the answers' logits at temperature 1.
    """

    guided: Divergence
    conditional: Divergence
    text: Divergence


def forced_divergence(
    reference: Janus,
    run: ReferenceRun,
    candidate: Janus,
    options: MeasuringOptions,
    progress: Progress = lambda what, done, total: None,
) -> ForcedDivergence:
    """KL(reference || candidate) of each position of what the reference painted and answered.

    The candidate works on its own from the prompt on: embeddings, vision encoder, language model
    and heads. Of the reference only the image head runs again. Raises what ``Janus`` raises.
    """
    guided_meter, conditional_meter, text_meter = (DivergenceMeter() for _ in range(3))
    total = len(run.painted) + len(run.answered)
    for done, painted in enumerate(run.painted, 1):
        expected = [image_logits(reference, row) for row in painted.hidden_states]
        found = forced_logits(candidate, painted.prompt, painted.codes)
        conditional_meter.add(expected[0], found[0], temperature=options.temperature)
        scale = options.guidance_scale
        guided_meter.add(
            guided(expected[0], expected[1], scale), guided(*found, scale),
            temperature=options.temperature,
        )  # fmt: skip
        progress("teacher forcing", done, total)
    for done, answered in enumerate(run.answered, len(run.painted) + 1):
        hidden = answering_hidden_states(
            candidate, answered.question, [answered.image], answered.answer
        )
        text_meter.add(answered.logits, text_logits(candidate, hidden))
        progress("teacher forcing", done, total)
    return ForcedDivergence(guided_meter.result(), conditional_meter.result(), text_meter.result())
