import pytest

from burnish.judge.rubric import Rubric

from .answers import RECIPE, good_answers


@pytest.fixture(scope="session")
def rubric() -> Rubric:
    return Rubric.load(RECIPE / "shop.yaml")


@pytest.fixture(scope="session")
def answered(rubric):
    return good_answers(rubric)
