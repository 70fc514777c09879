from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fabricated import ALL, SAID, write_run

from burnish.errors import DataError
from burnish.pipeline import axis, reward_page, samples
from burnish.pipeline.curves import by_iteration, curves
from burnish.pipeline.plots import Curve, draw, smooth
from burnish.pipeline.report import write_report
from burnish.records.durable import write_json
from burnish.types import Estimate

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}</p></body>"


class Page(HTMLParser):
    """Checks that tags close in order, and keeps what could load or run something."""

    VOID = ("meta", "br", "col", "hr", "img", "input", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has {name}"
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(write_run(tmp_path_factory.mktemp("whole"))).read_text()


def test_the_page_is_well_formed_and_stands_alone(whole: str) -> None:
    page = Page(whole)
    assert len(page.ids) == len(set(page.ids))
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert page.tags.isdisjoint({"script", "img", "link", "iframe", "object", "form", "base"})
    assert "http" not in whole.replace("http-equiv", "")
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", whole))
    assert "default-src 'none'" in whole


def test_every_section_of_a_whole_run_is_there(whole: str) -> None:
    page = Page(whole)
    sections = ["verdict", "stages", "wins", "suites", "reward", "curves", "sampled", "answers", "lineage", "settings"]
    assert [each for each in page.ids if "-" not in each] == sections
    assert whole.count("<article>") == 21
    assert whole.count("<figure>") == 15
    assert "The gate says yes" in whole


def test_the_reward_model_is_told_with_what_its_figures_are_worth(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("reward",))
    page = Page(write_report(run).read_text())
    text = "".join(page.text)
    for title in (
        "What its chances are worth",
        "Where it is right",
        "Whom it agrees with",
        "What it likes for nothing",
    ):
        assert title in text
    assert "It is too sure of itself: dividing its score differences by 1.41 (1.14 to 1.68) fits best" in text
    assert "three sentences that say nothing follow; preferred on 82.0% of the prompts" in text
    assert "bert" in text
    assert "bert" not in (run / "reward" / "stage.json").read_text(), "names stay out of what a release carries"


def test_an_older_run_shows_the_figures_that_it_has(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("reward",))
    record = json.loads((run / "reward" / "stage.json").read_text())
    for name in ("calibration", "slices", "probes"):
        del record["facts"][name]
    write_json(run / "reward" / "stage.json", record)
    (run / "reward" / "report.json").unlink()
    text = "".join(Page(write_report(run).read_text()).text)
    assert "Best length rule" in text
    assert "What its chances are worth" not in text
    assert "Whom it agrees with" not in text


def test_figures_stand_with_interval_n_and_what_n_can_show(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("evaluate",))
    page = write_report(run).read_text()
    found = json.loads((run / "evaluate" / "evaluation.json").read_text())["suites"]["winrate"]["figures"]["ppo_vs_sft"]
    assert f"<b>{100 * found['value']:.1f}%</b>" in page
    assert f"{100 * found['low']:.1f}% to {100 * found['high']:.1f}%" in page
    assert f'<td class="n">{found["n"]}</td><td class="n">{100 * found["mde"]:.1f} pt</td>' in page


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("ppo", "evaluate", "gate"), say={"ppo": HOSTILE, "base": HOSTILE})
    for path, key in ((run / "gate" / "decision.json", "reasons"), (run / "env.json", "processor")):
        value = json.loads(path.read_text())
        write_json(path, value | {key: [HOSTILE] if key == "reasons" else HOSTILE})
    rows = [json.loads(line) for line in (run / "evaluate" / "answers-base.jsonl").read_text().splitlines()]
    for row in rows:
        row["messages"][-1]["content"] = HOSTILE
        row["meta"]["intent"] = HOSTILE
    (run / "evaluate" / "answers-base.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "recipe.yaml").write_text(
        f"name: {json.dumps(HOSTILE)}\nmodel: {json.dumps(HOSTILE)}\nppo: {{}}\nevaluate: {{}}\ngate: {{}}\n"
    )
    text = write_report(run).read_text()
    page = Page(text)
    assert page.tags.isdisjoint({"script", "img"})
    assert "".join(page.text).count(HOSTILE) > 40
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("stages", [ALL[:1], ALL[:2], ("reward",), ("sft", "reward", "ppo", "evaluate")])
def test_a_run_of_some_stages_gives_the_sections_it_has(tmp_path: Path, stages: tuple[str, ...]) -> None:
    page = Page(write_report(write_run(tmp_path, stages, cases=20)).read_text())
    assert ("wins" in page.ids) == ("evaluate" in stages)
    assert ("reward" in page.ids) == ("reward" in stages)
    assert {"stages", "lineage", "settings"} <= set(page.ids)
    assert ("curves" in page.ids) == bool({"sft", "reward", "ppo"} & set(stages))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert "No gate in this run" in "".join(page.text)


@pytest.mark.parametrize(
    ("verdict", "headline", "word"),
    [("fail", "The gate says no", "Missed"), ("inconclusive", "The gate cannot tell", "Unclear")],
)
def test_a_verdict_that_is_not_yes_says_what_to_do(tmp_path: Path, verdict: str, headline: str, word: str) -> None:
    run = write_run(tmp_path, ("evaluate", "gate"), cases=20)
    said = {"figure": "a.b", "verdict": verdict, "reason": "a.b should be more"}
    write_json(run / "gate" / "decision.json", {"verdict": verdict, "reasons": [said["reason"]], "thresholds": [said]})
    text = write_report(run).read_text()
    assert headline in text
    assert f'<b class="{verdict}">{word}</b>a.b should be more.' in text
    assert f"burnish run RECIPE --out {run}" in text


def test_cases_that_were_learned_from_are_told_beside_the_verdict(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert "learned from" not in write_report(run).read_text()
    path = run / "evaluate" / "stage.json"
    record = json.loads(path.read_text())
    record["facts"]["learned_cases"] = 12
    write_json(path, record)
    assert "12 of 480 cases are prompts that models of this run learned from." in write_report(run).read_text()


def test_nothing_is_concluded_from_a_reward_model_that_may_be_guessing(tmp_path: Path) -> None:
    """A fabricated run whose evaluation is by that model alone: its win rates are flagged."""
    run = write_run(tmp_path)
    sure = write_report(run).read_text()
    assert "No conclusion" not in sure
    assert "preferred, ties half" in sure
    path = run / "reward" / "stage.json"
    record = json.loads(path.read_text())
    record["facts"]["accuracy"] |= {"low": 0.48}
    write_json(path, record)
    page = write_report(run).read_text()
    assert "<b>No conclusion.</b> The reward model that pays PPO puts 74.1%" in page
    assert '<span class="flag">no conclusion</span>' in page
    assert "preferred, ties half" not in page, "it is no figure to remember"
    path = run / "evaluate" / "stage.json"
    write_json(path, json.loads(path.read_text()) | {"settings": {"rubric": "shop.yaml"}})
    assert '<span class="flag">no conclusion</span>' not in write_report(run).read_text(), "a rule's win rates stand"


def test_a_difference_by_a_model_that_may_be_guessing_reads_no_conclusion(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    path = run / "evaluate" / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["suites"]["held_out_reward"] = evaluation["suites"]["facts"]
    write_json(path, evaluation)
    assert "no conclusion" not in write_report(run).read_text()
    path = run / "reward" / "stage.json"
    record = json.loads(path.read_text())
    record["facts"]["watcher"] = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 30, "mde": 0.1}
    write_json(path, record)
    page = write_report(run).read_text()
    assert page.count('<td class="reading doubted">no conclusion</td>') == 3, "a row for each two of three models"
    assert "No conclusion is drawn where a reward model that may be guessing measured the difference" in page


def test_too_few_cases_are_flagged(tmp_path: Path) -> None:
    assert "too few cases" in write_report(write_run(tmp_path, ("evaluate",), cases=20)).read_text()


def test_a_run_without_grades_shows_scores_on_their_own_axis(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("evaluate",), cases=20)
    ends = {"value": -1.25, "low": -1.5, "high": -1.0, "n": 20, "mde": 0.3, "too_few": True}
    suite = {"title": "Reward", "says": "Mean score.", "better": "higher", "unit": "score", "of": "case", "n": 20}
    figures = {"base": ends, "ppo": ends | {"value": 2.5, "low": 2.0, "high": 3.0}, "ppo-base": ends | {"p_holm": 0.01}}
    path = run / "evaluate" / "evaluation.json"
    write_json(path, {"models": ["base", "ppo"], "suites": {"reward": suite | {"too_few": True, "figures": figures}}})
    for answers in (run / "evaluate").glob("answers-*.jsonl"):
        rows = [json.loads(line) for line in answers.read_text().splitlines()]
        answers.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "grade"}) + "\n" for row in rows))
    text = write_report(run).read_text()
    assert "<b>−1.25</b>" in text
    assert '<td class="reading worse">worse</td>' in text
    assert "Where PPO does worst" not in text
    assert SAID["ppo"] in text


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("reward", "evaluate"), cases=20)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("sft",))
    (run / "sft" / "metrics.jsonl").write_text("{oops}\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        write_report(run)


def sample(name: str, *tags: str, **totals: float) -> samples.Sample:
    answers = [samples.Answer(model=m, text="", cut=False, total=t, parts={}) for m, t in totals.items()]
    return samples.Sample(id=name, tags=tags, messages=(), answers=tuple(answers))


def test_samples_take_turns_over_kinds_and_never_look_at_grades() -> None:
    many = [sample(f"a{i}", "facts", "en", ppo=i / 40) for i in range(40)] + [sample("b", "refusal", "de", ppo=0.0)]
    chosen = samples.choose(many, 4)
    assert [each.tags[0] for each in chosen[:2]].count("refusal") == 1
    regraded = [sample(each.id, *each.tags, ppo=1 - (each.total("ppo") or 0)) for each in many]
    assert [each.id for each in samples.choose(regraded, 4)] == [each.id for each in chosen]
    assert [each.id for each in samples.choose(reversed(many), 4)] == [each.id for each in chosen]


def test_the_worst_are_the_lowest_grades_of_that_model() -> None:
    many = [sample("x", ppo=0.9, sft=0.0), sample("y", ppo=0.1, sft=0.9), sample("z", ppo=0.4, sft=0.5), sample("w")]
    assert [each.id for each in samples.worst(many, "ppo", 2)] == ["y", "z"]


def test_only_cases_that_every_model_answered_are_shown() -> None:
    row = {"messages": [], "text": "t", "stop": "length", "grade": {"total": 0.5, "tone": 1.0}}
    found = samples.align({"base": [row | {"id": 1}, row | {"id": 2}], "ppo": [row | {"id": 2}]})
    assert [each.id for each in found] == ["2"]
    assert found[0].answers[0].cut
    assert found[0].answers[0].parts == {"tone": 1.0}


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, n=10, mde=0.1)


def test_axes_hold_what_they_show_and_end_on_round_numbers() -> None:
    assert axis.SHARES.at(0.25) == "25.00%"
    assert axis.SHARES.at(1.5) == "100.00%"
    zero = axis.around_zero([estimate(-0.12, 0.31)])
    assert (zero.low, zero.high, zero.at(0)) == (-0.4, 0.4, "50.00%")
    held = axis.holding([estimate(-1.4, 0.2), estimate(2.0, 6.1)])
    assert (held.low, held.high) == (-2.0, 8.0)
    assert axis.accuracies([estimate(0.33, 0.5)]).low == pytest.approx(0.2)
    assert axis.accuracies([estimate(0.33, 0.5)]).ticks() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert axis.accuracies([estimate(0.55, 0.7)]).ticks() == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert axis.around_zero([]).high == 1.0


def test_the_running_mean_is_a_mean_at_the_ends_too() -> None:
    assert smooth([1, 2, 3, 10], 3).tolist() == pytest.approx([1.5, 2, 5, 6.5])


def test_ppo_curves_are_means_over_iterations() -> None:
    rows = [
        {"step": 0, "objective/kl": 0.0, "objective/scores": 1.0, "policy/clipfrac_avg": 0.0},
        {"step": 1, "policy/clipfrac_avg": 0.2},
        {"step": 2, "objective/kl": 4.0, "objective/scores": 3.0, "policy/clipfrac_avg": 0.4, "val/length": None},
    ]
    means = by_iteration(rows)
    assert [row["policy/clipfrac_avg"] for row in means] == pytest.approx([0.1, 0.4])
    assert [row["step"] for row in means] == [0, 2]
    found = {curve.title: curve for curve in curves("ppo", rows)}
    assert list(found) == ["Reward", "KL from the tuned model", "Score against drift", "Clipped tokens"]
    assert found["Score against drift"].x == [0.0, 2.0]


def test_the_axis_of_drift_begins_at_0_where_estimates_below_it_stand() -> None:
    rows = [{"step": step, "objective/kl": kl, "objective/scores": 1.0} for step, kl in enumerate((0.0, -0.2, -0.1))]
    [found] = [each for each in curves("ppo", rows) if each.title == "Score against drift"]
    assert found.x == [0.0, 0.0, 0.0]
    assert found.caption.endswith(" 2 of 3 KLs are estimated below 0, and stand at 0.")
    assert "−" not in "".join(re.findall(r"<text[^>]*>([^<]*)</text>", draw(replace(found, y=[1.0, 2.0, 3.0]))))
    rows[1]["objective/kl"] = rows[2]["objective/kl"] = 4.0
    [found] = [each for each in curves("ppo", rows) if each.title == "Score against drift"]
    assert "estimated below" not in found.caption


def test_a_picture_has_no_colour_font_or_link_of_its_own() -> None:
    picture = draw(Curve(title="Loss & more", x=range(40), y=range(40), x_label="step", y_label="y", caption=""))
    assert picture.startswith("<svg ")
    assert "var(--ppo)" in picture
    assert 'aria-label="Loss &amp; more"' in picture
    assert "font-family" not in picture
    assert "http" not in picture
    assert re.findall("#[0-9a-f]{6}", picture) == []


def dashed(picture: str) -> list[float]:
    """The numbers in the path of the dashed line."""
    [path] = re.findall(r'<path d="([^"]*)"[^>]*stroke-dasharray', picture)
    return [float(each) for each in re.findall(r"-?[\d.]+", path)]


def test_the_diagonal_of_a_calibration_crosses_the_whole_axis() -> None:
    """With one bin as with many; chances of one's own choice run from a half to one."""
    found = {"bins": [{"confidence": 0.53, "right": {"value": 0.5, "low": 0.4, "high": 0.6}}]}
    few, many = (
        dashed(str(draw(reward_page.calibration_curve({"bins": [*found["bins"], *more]}))))
        for more in ([], [{"confidence": 0.95, "right": {"value": 0.9, "low": 0.8, "high": 1.0}}])
    )
    assert few == many
    left, _, right, _ = few
    assert right - left > 200, "of the picture's 310 points"


@pytest.mark.parametrize(("kl", "shown"), [(0.0139, "0.0139"), (-0.003, "−0.003"), (7.9, "7.9")])
def test_the_tile_of_a_small_kl_has_digits_and_says_what_it_is_of(tmp_path: Path, kl: float, shown: str) -> None:
    run = write_run(tmp_path, ("ppo",))
    record = json.loads((run / "ppo" / "stage.json").read_text())
    record["facts"]["kl_end"] = kl
    write_json(run / "ppo" / "stage.json", record)
    page = write_report(run).read_text()
    assert f"<b>{shown} nats</b>" in page
    assert "estimated on the answers that it sampled last" in page
