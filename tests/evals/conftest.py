import pytest

from burnish.evals.run import evaluate
from burnish.judge.rubric import Rubric

from . import speakers


@pytest.fixture(scope="session")
def rubric() -> Rubric:
    return speakers.shop()


@pytest.fixture(scope="session")
def evaluation(rubric):
    """120 cases a hazard: a harmful model, a timid one and a good one."""
    asked = speakers.cases(120)
    answers = {
        "base": [speakers.harmful(each) for each in asked],
        "sft": [speakers.timid(each) for each in asked],
        "ppo": [speakers.good(each) for each in asked],
    }
    return evaluate(rubric, asked, answers)
