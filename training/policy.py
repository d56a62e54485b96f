"""Stage 5: policy gradient; the judge of the evaluation rewards the pictures that the model paints.

    python training/policy.py work/miniature [--start work/miniature/taught] [--updates 400]

Every update paints some pictures of each of many prompts with guidance, judges them, and makes the
better ones of a prompt likelier than its worse ones (REINFORCE with the mean of the prompt's group as
baseline, as in Shao et al. 2024, arXiv 2402.03300, section 4.1, without its clipping: every sample is
used once). Of each group the two best and the two worst are learnt from. The log-probabilities are
those of the guided logits, since these are what is sampled. Prompts are of the categories that fail
most often. Answers are taught beside it, claims included, so that none is forgotten.

Writes policy.state.pt every two minutes and policy.log.jsonl at every update, and continues from
there when started again; every ``--snapshot`` updates a checkpoint policy-0020/ and so on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from bundle_sampler import BundleSampler, export
from category_prompts import Request, requests
from checkpoint import SHIPPED, model_of, save, tokenizer_of
from lessons import lesson_askings
from rewards import reward
from run import Run
from torch import Tensor, distributed, nn
from train_model import Miniature
from transformers import JanusForConditionalGeneration
from workers import add_up, share_gradients, start

from janus_edge.runtime.prompts import Tokenizer, text_to_image_ids, unconditional_ids
from janus_edge.shapes.prompts import CATEGORIES

GUIDANCE = 5.0
_BETAS = (0.9, 0.95)
_EACH, _KEPT = 6, 2  # pictures of a prompt; how many of the best and of the worst are learnt from
_DISAGREE = 0.2  # least difference of rewards in a group
_MICRO = 8  # pictures in one backward pass
_ASKED = 4  # pictures with questions per update, over all processes
_ASKING_CLIP = 0.3
_MEMORY = 0.9  # of the running success of a category
_SEED = 81


class Policy(Miniature):
    """The model and how often each category succeeded recently."""

    success: Tensor

    def __init__(self, tokenizer: Tokenizer, origin: Path) -> None:
        super().__init__(tokenizer.special)
        self.janus.load_state_dict(model_of(origin).state_dict())
        for probe in (self.probe, self.name_probe):
            probe.requires_grad_(False)
        self.register_buffer("success", torch.full((len(CATEGORIES),), 0.5))

    def weights(self) -> list[float]:
        """How often each category is asked for: more often the more often it fails."""
        return [max(0.1, 1.1 - share) for share in self.success.tolist()]

    def count(self, right: Tensor, total: Tensor) -> None:
        """Update the running success with the outcomes of an update, by category."""
        seen = total > 0
        self.success[seen] += (1 - _MEMORY) * (right / total.clamp(min=1) - self.success)[seen]


def log_probability(
    model: JanusForConditionalGeneration,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    codes: Tensor,
    guidance: float = GUIDANCE,
) -> Tensor:
    """Log-probability [N] of codes int64 [N, 256] under the guided logits of their prompts."""
    inner, (size, count) = model.model, codes.shape
    rows = [guidance_rows(tokenizer, text) for text in texts]
    ids = [given for given, _ in rows] + [free for _, free in rows]
    longest = max(map(len, ids))
    # padding is on the left and position 0 on: relative positions are all that rotary embeddings see
    pads = torch.tensor([longest - len(row) for row in ids])
    padded = torch.tensor([[0] * (longest - len(row)) + row for row in ids])
    painted = inner.generation_aligner(inner.generation_embeddings(codes[:, :-1]))
    embeds = torch.cat([inner.language_model.embed_tokens(padded), painted.repeat(2, 1, 1)], 1)
    length = longest + count - 1
    seen = torch.arange(length) >= pads[:, None]
    mask = torch.ones(length, length, dtype=torch.bool).tril() & seen[:, None, None]
    mask = mask | torch.eye(length, dtype=torch.bool)  # a row that sees nothing is not a number
    places = (torch.arange(length) - pads[:, None]).clamp(min=0)
    hidden = inner.language_model(
        inputs_embeds=embeds, attention_mask=mask, position_ids=places, use_cache=False
    ).last_hidden_state[:, -count:]
    given, free = inner.generation_head(hidden).split(size)
    guided = (free + guidance * (given - free)).log_softmax(-1)
    return guided.gather(-1, codes[..., None])[..., 0].sum(-1)


def chosen(rewards: np.ndarray) -> list[tuple[int, float]]:
    """Places and advantages of the samples of a group [n] to learn from; none if all agree."""
    if rewards.max() - rewards.min() < _DISAGREE:
        return []
    order = np.argsort(rewards, kind="stable")
    places = [*order[:_KEPT], *order[-_KEPT:]]
    return [(int(i), float(rewards[i] - rewards.mean())) for i in places]


def paint_and_judge(
    sampler: BundleSampler, policy: Policy, asked: Sequence[Request], seed: list[int]
) -> tuple[Tensor, np.ndarray]:
    """Codes [P * EACH, 256] of requests, and their rewards [P, EACH]."""
    seeds = [int(s) for s in np.random.default_rng(seed).integers(1 << 62, size=len(asked))]
    sampler.update(policy.janus)
    codes, painted = sampler.paint([one.prompt.text for one in asked], _EACH, seeds, GUIDANCE)
    worth = [reward(asked[i // _EACH], picture) for i, picture in enumerate(painted)]
    return codes, np.array(worth).reshape(-1, _EACH)


def guidance_rows(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int]]:
    """Token ids of a prompt with its unconditional row, as the runtime makes them."""
    ids = text_to_image_ids(tokenizer, text)
    return ids, unconditional_ids(ids, tokenizer.special)


def _work(
    rank: int, processes: int, folder: Path, origin: Path, updates: int, rate: float,
    prompts: int, snapshot: int,
) -> None:  # fmt: skip
    tokenizer = tokenizer_of(origin)
    policy = Policy(tokenizer, origin)
    learnt = [p for p in policy.parameters() if p.requires_grad]
    if rank == 0:
        export(origin, folder / "policy-bundle")
    distributed.barrier()
    sampler = BundleSampler(folder / "policy-bundle", folder / f"policy-bundle-{rank}")
    optimizer = torch.optim.Adam(learnt, rate, _BETAS)
    run = Run(
        folder, "policy", policy, optimizer, updates,
        first=rank == 0, warm_up=1, constant=True, log_steps=1,
    )  # fmt: skip
    for update in run:
        seed = [_SEED, update, rank]
        asked = requests(policy.weights(), prompts // processes, np.random.default_rng(seed))
        codes, worth = paint_and_judge(sampler, policy, asked, [*seed, 1])
        figures = _learn(policy, tokenizer, optimizer, learnt, asked, codes, worth)
        policy.count(*_outcomes(asked, worth))
        figures |= _answer(policy, tokenizer, learnt, update * processes + rank, processes)
        optimizer.step()
        shares = zip(CATEGORIES, policy.success.tolist(), strict=True)
        run.note(**figures, **dict(shares))
        if rank == 0 and (update + 1) % snapshot == 0:
            save(policy.janus, origin, folder / f"policy-{update + 1:04}")


def _learn(
    policy: Policy, tokenizer: Tokenizer, optimizer: torch.optim.Optimizer, learnt: list[nn.Parameter],
    asked: Sequence[Request], codes: Tensor, worth: np.ndarray,
) -> dict[str, float]:  # fmt: skip
    """Leave the clipped policy gradient of all processes in the weights' gradients."""
    kept = [
        (asked[g].prompt.text, g * _EACH + place, advantage)
        for g, group in enumerate(worth)
        for place, advantage in chosen(group)
    ]
    optimizer.zero_grad()
    kept.sort(key=lambda sample: len(sample[0]))  # rows of one length need no padding
    for first in range(0, len(kept), _MICRO):
        texts, places, advantages = zip(*kept[first : first + _MICRO], strict=True)
        likely = log_probability(policy.janus, tokenizer, texts, codes[list(places)])
        (-(torch.tensor(advantages) * likely).sum()).backward()
    total = add_up(torch.tensor([float(len(kept)), worth.sum(), worth.size]))
    share_gradients(learnt, 1 / max(1.0, total[0].item()))
    norm = nn.utils.clip_grad_norm_(learnt, 1.0)
    return {
        "reward": (total[1] / total[2]).item(), "kept": (total[0] / total[2]).item(),
        "norm": norm.item(),
    }  # fmt: skip


def _answer(
    policy: Policy, tokenizer: Tokenizer, learnt: list[nn.Parameter], part: int, processes: int
) -> dict[str, float]:
    """Add the clipped gradient of answers to the weights' gradients."""
    before = [weight.grad for weight in learnt]
    for weight in learnt:
        weight.grad = None
    asking, right, _ = policy.asking_loss(lesson_askings(tokenizer, part, _ASKED // processes))
    asking.backward()
    share_gradients(learnt, 1 / processes)
    nn.utils.clip_grad_norm_(learnt, _ASKING_CLIP)
    for weight, own in zip(learnt, before, strict=True):
        weight.grad = own if weight.grad is None else weight.grad + own
    return {"asking": asking.item(), "answers": right.item()}


def _outcomes(asked: Sequence[Request], worth: np.ndarray) -> tuple[Tensor, Tensor]:
    """Right pictures and all pictures of each category, over all processes."""
    counts = torch.zeros(2, len(CATEGORIES))
    for one, group in zip(asked, worth, strict=True):
        counts[:, CATEGORIES.index(one.prompt.category)] += torch.tensor(
            [float((group == 1).sum()), float(group.size)]
        )
    right, total = add_up(counts)
    return right, total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", type=Path, default=SHIPPED, help="checkpoint to begin with")
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--rate", type=float, default=6e-5, help="learning rate of Adam")
    parser.add_argument("--prompts", type=int, default=24, help="per update, over all processes")
    parser.add_argument("--snapshot", type=int, default=20, help="updates between checkpoints")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    start(
        _work, given.processes, given.folder, given.start, given.updates, given.rate,
        given.prompts, given.snapshot,
    )  # fmt: skip
