"""How far one row of logits is from another: the Kullback-Leibler divergence and its summary.

With P = softmax(reference) and Q = softmax(logits) (Kullback and Leibler, "On information and
sufficiency", 1951):

    KL(P || Q) = sum_k P_k (log P_k - log Q_k)   in nats

It is 0 where both draw alike and never negative. Log-softmax is taken in float64 behind the row's
maximum, so that no exponential overflows and a small divergence is not lost in float32's rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.compare import MAX_DB, decibels

#: A divergence is limited to this, which is also that of a row with a value that is not finite:
#: figures stay valid JSON.
MAX_NATS = 1e6

#: Values of a piece that is worked on in float64.
_PIECE = 1 << 20


def kl_divergence(reference: NDArray[Any], logits: NDArray[Any]) -> NDArray[np.float64]:
    """KL(softmax(reference) || softmax(logits)) of each row, [N, K] twice -> [N] float64 in nats.

    Rows that are not finite on either side get MAX_NATS. Raises ValueError unless both have one
    shape [N, K] with K > 0.
    """
    _check_rows(reference, logits)
    found = np.empty(len(reference), np.float64)
    step = max(1, _PIECE // reference.shape[1])
    for start in range(0, len(reference), step):
        rows = slice(start, start + step)
        found[rows] = _divergence(reference[rows], logits[rows])
    return found


def top1_agreement(reference: NDArray[Any], logits: NDArray[Any]) -> float:
    """The share of rows [N, K] whose largest value is at the same place, of ties the first.

    Raises ValueError as :func:`kl_divergence`, and without rows.
    """
    _check_rows(reference, logits)
    if not len(reference):
        raise ValueError("no rows to compare")
    return float(np.mean(reference.argmax(-1) == logits.argmax(-1)))


@dataclass(frozen=True, slots=True)
class Divergence:
    """Logits against the reference's over ``rows`` positions.

    ``kl_mean``, ``kl_p99`` (the 99th percentile) and ``kl_max`` are in nats; ``top1`` is the share
    of rows with the same most probable entry; ``snr_db`` is 10 log10(sum(reference^2) /
    sum((logits - reference)^2)) of the logits themselves, -200 where ``finite`` is False, that is
    where a logit is not finite.
    """

    rows: int
    kl_mean: float
    kl_p99: float
    kl_max: float
    top1: float
    snr_db: float
    finite: bool


class DivergenceMeter:
    """Adds rows of logits up to a :class:`Divergence`; keeps one number of each row."""

    def __init__(self) -> None:
        self._kl: list[NDArray[np.float64]] = []
        self._same, self._signal, self._noise, self._finite = 0.0, 0.0, 0.0, True

    def add(
        self, reference: NDArray[Any], logits: NDArray[Any], *, temperature: float = 1.0
    ) -> None:
        """Logits [N, K] of both sides; ``temperature`` divides them for the divergence alone.

        Raises ValueError as :func:`top1_agreement`.
        """
        self._same += top1_agreement(reference, logits) * len(reference)
        if temperature == 1:
            self._kl.append(kl_divergence(reference, logits))
        else:
            self._kl.append(kl_divergence(reference / temperature, logits / temperature))
        self._finite &= bool(np.isfinite(reference).all() and np.isfinite(logits).all())
        if self._finite:
            # float64 sums of float32 squares, without a float64 copy of the logits
            error = logits - reference
            self._signal += float(np.einsum("nk,nk->", reference, reference, dtype=np.float64))
            self._noise += float(np.einsum("nk,nk->", error, error, dtype=np.float64))

    def result(self) -> Divergence:
        """The figures over everything added; raises ValueError if nothing was."""
        if not self._kl:
            raise ValueError("no rows to compare")
        kl = np.concatenate(self._kl)
        snr = decibels(self._signal, self._noise) if self._finite else -MAX_DB
        return Divergence(
            len(kl), float(kl.mean()), float(np.quantile(kl, 0.99)), float(kl.max()),
            self._same / len(kl), snr, self._finite,
        )  # fmt: skip


def _divergence(reference: NDArray[Any], logits: NDArray[Any]) -> NDArray[np.float64]:
    finite = np.isfinite(reference).all(-1) & np.isfinite(logits).all(-1)
    log_p, log_q = _log_softmax(reference[finite]), _log_softmax(logits[finite])
    found = np.full(len(reference), MAX_NATS)
    # rounding may leave -1e-17 of a divergence of nothing
    found[finite] = np.clip((np.exp(log_p) * (log_p - log_q)).sum(-1), 0, MAX_NATS)
    return found


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted


def _check_rows(reference: NDArray[Any], logits: NDArray[Any]) -> None:
    if reference.shape != logits.shape or reference.ndim != 2 or not reference.shape[1]:
        raise ValueError(
            f"logits must both be [rows, entries], found {reference.shape} and {logits.shape}"
        )
