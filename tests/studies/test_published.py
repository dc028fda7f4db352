"""What is published of a model stands next to a study of it, and next to no other."""

import pytest

from whichbits.published.figures import ERRATA
from whichbits.reporting.context import PublishedComparison
from whichbits.studies.published import published_next_to
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.reasons import IsBase
from whichbits.verdict.verdict import Decision, SimilarityFinding, SuiteRecovery, TaskRecovery, Verdict

NAMES = {"bf16": "bf16", "int8": "w8a8-int", "w4a16-int": "w4a16-int"}
OWN = Estimate(value=99.0, low=98.0, high=100.0)


def task(
    name: str, chance: float = 0.0, candidate: str = "int8", provenance: str = "measured", mode: str | None = None
) -> TaskRecovery:
    return TaskRecovery(
        candidate=candidate, task=name, mode=mode, engine="vllm", provenance=provenance, items=100, chance=chance,  # type: ignore[arg-type]
        base_score=0.8, score=0.79, difference=Estimate(value=-0.01, low=-0.02, high=0.0), recovery=OWN, excluded=None,
        flips=0.01, smallest_difference=0.01, steps=(),
    )  # fmt: skip


def verdict(model: str, *tasks: TaskRecovery, base: str = "bf16", formats: dict[str, str] = NAMES) -> Verdict:
    suite = SuiteRecovery(
        candidate="int8", engine="vllm", provenance="measured", items=100, tasks=("gsm8k_llama",), recovery=OWN,
        smallest_difference=1.0, flips=0.0, noise_floor_flips=None, steps=(),
    )  # fmt: skip
    texts = SimilarityFinding(
        candidate="int8", engine="vllm", provenance="measured", measure="rougeL", items=5,
        estimate=Estimate(value=0.5, low=0.4, high=0.6), steps=(),
    )  # fmt: skip
    return Verdict(
        study="s", model=model, base=base, margin=0.01, caveats=(), recommendations=(), tasks=tasks, suites=(suite,),
        emulation=(), similarity=(texts,), speed=(), cost=(), sizes=(),
        formats=tuple(
            Decision(
                candidate=name, format=format, state="base" if name == base else "inconclusive", reason=IsBase(),
                suite=suite if name == "int8" else None,
            )
            for name, format in formats.items()
        ),
    )  # fmt: skip


def found(*arguments: object, **options: object) -> dict[tuple[str, str, str], PublishedComparison]:
    return {(e.candidate, e.on, e.quantity): e for e in published_next_to(verdict(*arguments, **options))}  # type: ignore[arg-type]


def test_suites_tasks_and_texts_of_the_same_model_and_format() -> None:
    ours = found("meta-llama/Llama-3.1-8B-Instruct", task("gsm8k_llama"), task("order"))
    v1 = ours["int8", "leaderboard-v1", "recovery"]
    assert (v1.published, v1.own, v1.own_tasks) == (100.31, OWN, ("gsm8k_llama",))
    assert ours["int8", "leaderboard-v2", "recovery"].published == 101.5
    assert ours["int8", "gsm8k_llama", "recovery"].published == 102.42
    assert ours["int8", "arena-hard", "rougeL"].published == 0.47
    assert ours["w4a16-int", "leaderboard-v1", "recovery"].published == 98.72
    assert ours["w4a16-int", "leaderboard-v1", "recovery"].own is None
    assert {candidate for candidate, _, _ in ours} == {"int8", "w4a16-int"}
    assert not any(on == "order" for _, on, _ in ours)


def test_chance_is_taken_off_scores_that_have_it_in_them() -> None:
    ours = found("Llama-3.1-8B-Instruct", task("winogrande", 0.5), task("leaderboard_gpqa", 0.25), task("gsm8k_llama"))
    assert ours["int8", "winogrande", "recovery"].above_chance == pytest.approx(100 * (78.5 - 50) / (78.1 - 50), abs=0.005)
    assert ours["int8", "leaderboard_gpqa", "recovery"].above_chance is None
    assert ours["int8", "gsm8k_llama", "recovery"].above_chance is None


def test_where_no_recovery_is_printed_the_scores_give_it() -> None:
    ours = found("Llama-3.1-70B-Instruct", task("humaneval_chat"), task("arena-hard"))
    assert ours["int8", "humaneval_chat", "recovery"].published == pytest.approx(100 * 78.7 / 79.7, abs=0.005)
    swapped = ours["int8", "arena-hard", "recovery"]
    assert swapped.published == pytest.approx(100 * 56.3 / 57.0, abs=0.005)
    assert swapped.erratum == ERRATA["arena-hard-swapped"]


def test_openpangu_has_another_base() -> None:
    formats = {"fp16": "fp16", "int8": "w4a8-int"}
    for name, mode in (("mbpp", None), ("mbpp_chat (slow)", "slow")):
        ours = found("FreedomIntelligence/openPangu-Embedded-7B-V1.1", task(name, mode=mode), base="fp16", formats=formats)
        assert ours["int8", name, "recovery"].published == pytest.approx(100 * 70.04 / 77.04, abs=0.005)


def test_what_was_served_is_shown_before_what_was_emulated() -> None:
    emulated = task("gsm8k_llama", provenance="emulated").model_copy(update={"recovery": None})
    for order in ((emulated, task("gsm8k_llama")), (task("gsm8k_llama"), emulated)):
        assert found("Llama-3.1-8B-Instruct", *order)["int8", "gsm8k_llama", "recovery"].own == OWN


def test_nothing_of_another_model() -> None:
    assert found("HuggingFaceTB/SmolLM2-135M-Instruct", task("gsm8k_llama")) == {}


@pytest.mark.parametrize(("suite", "table"), [("leaderboard-v1", "table-2"), ("leaderboard-v2", "table-3")])
def test_the_suites_have_the_tasks_of_the_papers_tables(suite: str, table: str) -> None:
    from whichbits.accuracy.registry import expand
    from whichbits.published.tables import figures

    of_table = {figure.on for figure in figures(table) if figure.quantity == "score"}
    assert {task.name for task in expand([suite])} <= of_table
