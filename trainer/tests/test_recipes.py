"""Every recipe in the repository can be read, its losses built and its orders known."""

from pathlib import Path

import pytest

from trainer.data.curriculum import check_order
from trainer.losses.build import build_loss
from trainer.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_sound(path: Path) -> None:
    recipe = load_recipe(path, [])
    for stage in recipe.stages:
        check_order(stage.order)
        for source in stage.sources:
            build_loss(source.loss or stage.loss)
