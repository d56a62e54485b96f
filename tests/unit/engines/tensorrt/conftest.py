"""The tiny model in every recipe, made once a session for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle


@pytest.fixture(scope="session")
def recipe_bundles(
    tiny_bundle: Path, half_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    """Map recipes to bundles, which tests must not change. Needs tensorrt-rtx, their target."""
    from tests.tensorrt_network.bundles import recipe_bundle

    folder = tmp_path_factory.mktemp("recipes")

    @cache
    def made(recipe: str) -> Bundle:
        return recipe_bundle(recipe, tiny_bundle, half_bundle, folder / recipe)

    return made
