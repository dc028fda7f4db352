"""From published scores alone every printed recovery and average follows, to rounding."""

import pytest

from whichbits.published.figures import PublishedFigure
from whichbits.published.recovery import SCORES, ratio, scores_of, suite_recovery
from whichbits.published.tables import figures

SUITES = [figure for table in SCORES for figure in figures(table) if figure.quantity == "recovery"]
TASKS = figures("table-10-11")


def name(figure: PublishedFigure) -> str:
    return f"{figure.table} {figure.model.rpartition('/')[2]} {figure.format} {figure.on}"


@pytest.mark.parametrize("printed", SUITES, ids=name)
def test_recoveries_of_suites(printed: PublishedFigure) -> None:
    found = suite_recovery(printed)
    assert found.agrees(printed)
    assert found.high - found.low < 0.8
    assert found.value == pytest.approx(printed.value, abs=0.17)


@pytest.mark.parametrize("printed", TASKS, ids=name)
def test_recoveries_of_tasks(printed: PublishedFigure) -> None:
    scores = scores_of("table-2" if "leaderboard" not in printed.on else "table-3")
    found = ratio([scores[printed.model, printed.format][printed.on]], [scores[printed.model, "bf16"][printed.on]])
    assert found.agrees(printed)


def test_a_wrong_score_would_be_noticed() -> None:
    printed = next(figure for figure in TASKS if (figure.on, figure.format) == ("gsm8k_llama", "w8a8-int"))
    scores = scores_of("table-2")
    other = scores[printed.model, "w8a8-fp"][printed.on]
    assert not ratio([other], [scores[printed.model, "bf16"][printed.on]]).agrees(printed)


@pytest.mark.parametrize("average", [f for t in (*SCORES, "12", "13") for f in figures(t) if f.quantity == "average"], ids=name)
def test_averages_are_means_of_the_tasks(average: PublishedFigure) -> None:
    scores = [
        figure
        for figure in figures(average.table)
        if (figure.quantity, figure.model, figure.format, figure.setting)
        == ("score", average.model, average.format, average.setting)
        and (average.on != "leaderboard-v2" or figure.on.startswith("leaderboard_"))
    ]
    low, high = (sum(ends) / len(scores) for ends in zip(*(figure.bounds for figure in scores), strict=True))
    assert low <= average.bounds[1]
    assert average.bounds[0] <= high


@pytest.mark.parametrize("table", ["table-7", "table-8"])
def test_arena_hard_is_the_mean_of_two_runs(table: str) -> None:
    by_quantity = {(f.model, f.format, f.setting, f.quantity): f for f in figures(table)}
    for (*who, quantity), figure in by_quantity.items():
        if quantity == "score":
            runs = [by_quantity[(*who, f"score-run-{run}")].value for run in (1, 2)]
            # Some second runs are printed with two digits, others are rounded before the mean is.
            assert sum(runs) / 2 == pytest.approx(figure.value, abs=0.11)


def test_arena_hard_is_the_same_in_tables_3_and_7() -> None:
    of_7 = {(f.model, f.format): f.value for f in figures("7") if f.quantity == "score"}
    of_3 = {(f.model, f.format): f.value for f in figures("3") if f.on == "arena-hard"}
    assert of_3 == of_7


def test_table_1_averages_its_own_columns_and_those_of_tables_12_and_13() -> None:
    found: dict[tuple[str, str, str], dict[str, PublishedFigure]] = {}
    for figure in figures("1"):
        found.setdefault((figure.model, figure.format, figure.setting), {})[figure.on] = figure
    for row in found.values():
        academic = (row["leaderboard-v1"].value + row["leaderboard-v2"].value) / 2
        assert academic == pytest.approx(row["academic"].value, abs=0.0151)
        real = (row["arena-hard"].value + row["humaneval"].value + row["mbpp"].value) / 3
        assert real == pytest.approx(row["real-world"].value, abs=0.1)
    for table in ("12", "13"):
        for average in figures(table):
            if average.quantity == "average":
                assert found[average.model, average.format, average.setting][average.on].value == average.value


def test_similarity_has_the_means_that_the_text_gives() -> None:
    measures = ("rouge1", "rougeL", "bertscore", "sts")
    for sizes, means in ((("70B", "405B"), (0.71, 0.56, 0.93, 0.96)), (("8B",), (0.62, 0.46, 0.92, 0.95))):
        for measure, mean in zip(measures, means, strict=True):
            values = [
                f.value for f in figures("similarity") if f.quantity == measure and any(f"-{s}-" in f.model for s in sizes)
            ]
            assert sum(values) / len(values) == pytest.approx(mean, abs=0.0101)


def test_chance_is_taken_off_both_scores() -> None:
    scores = scores_of("table-2")
    model = "meta-llama/Llama-3.1-8B-Instruct"
    ours, base = scores[model, "w4a16-int"]["winogrande"], scores[model, "bf16"]["winogrande"]
    assert ratio([ours], [base], chance=50).value == pytest.approx(100 * (78.0 - 50) / (78.1 - 50))


def test_openpangu_scores_are_whole_problems() -> None:
    problems = {"humaneval": 164, "mbpp": 257}
    for figure in figures("openpangu"):
        if figure.source == "2512.23367-as-quoted" and figure.on in problems:
            solved = figure.value / 100 * problems[figure.on]
            assert abs(solved - round(solved)) < 0.02
