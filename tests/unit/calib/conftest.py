"""Inputs and weights as quantisation meets them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@pytest.fixture(scope="session")
def weight() -> Floats:
    """[96, 40], as a layer of a language model: nearly normal, columns of other sizes."""
    rng = np.random.default_rng(1)
    made = rng.standard_t(6, (96, 40)) * rng.uniform(0.01, 0.1, 40)
    return np.asarray(made, np.float32)


@pytest.fixture(scope="session")
def correlated() -> Floats:
    """Rows [512, 96] that mostly lie in 12 dimensions."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(512, 12)) @ rng.normal(size=(12, 96)) + 0.3 * rng.normal(size=(512, 96))
    return np.asarray(rows, np.float32)


@pytest.fixture(scope="session")
def outliers() -> Floats:
    """Rows [256, 96] of which four channels are a hundred times as large as the others."""
    rows = np.random.default_rng(3).normal(size=(256, 96))
    rows[:, [5, 17, 40, 90]] *= 100
    return np.asarray(rows, np.float32)
