from whichbits.reporting.citations import Citations
from whichbits.reporting.overview import checklist, format_rows, speed_texts, would_change


def test_rows_say_state_recovery_size_and_speed(verdict, context):
    rows = {row.decision.candidate: row for row in format_rows(verdict, Citations(context.steps))}
    assert rows["w8a8-int"].recovery == "99.3 % (97.9 – 100.7)"
    assert rows["w8a8-int"].size == "0.61×"
    assert [mode for mode, _ in rows["w8a8-int"].speeds] == ["synchronous", "asynchronous"]
    assert rows["w8a8-int"].speeds[0][1].startswith("1.42× (1.3")
    assert [name for name, row in rows.items() if row.recommended] == ["w8a8-int"]
    assert [name for name, row in rows.items() if row.emulated] == ["w8a8-fp", "w4a8-int"]
    assert rows["fp8-block"].recovery == ""
    assert rows["bf16"].speeds == ()


def test_an_invalid_speed_is_not_in_the_first_table(verdict):
    assert [mode for mode, _ in speed_texts("w4a16-int", verdict.cost)] == ["synchronous"]


def test_several_workloads_give_a_range(verdict):
    more = [c.model_copy(update={"workload": "rag"}) for c in verdict.cost]
    more = [c.model_copy(update={"cost_reduction": verdict.cost[2].cost_reduction}) for c in more if c.candidate == "w8a8-int"]
    assert speed_texts("w8a8-int", (*verdict.cost, *more))[0] == ("synchronous", "1.17× to 1.42× over 2 workloads")


def test_what_would_change_the_answer(verdict):
    assert [about for about, _ in would_change(verdict)] == ["demo-chat, asynchronous", "w4a16-int-mse", "w8a8-fp"]


def test_checklist_counts_what_it_finds(verdict, context):
    checks = checklist(verdict, context)
    texts = [check.text for check in checks]
    assert [check.passed for check in checks] == [False, False, False, True, True, False]
    assert texts[0] == f"{len(context.steps) - 1} of {len(context.steps)} steps are complete"
    assert texts[1].startswith("66 of 72 speed figures are valid")
    assert texts[2].startswith("4 of 5 tasks")
    assert "0.4 %" in texts[3]
    assert "w8a8-fp, w4a8-int" in texts[4]
    assert checks[5].details[-1] == "w8a8-fp: refused, no FP8 kernel for this CPU"


def test_checklist_of_a_study_without_results(empty_verdict, context):
    nothing = context.model_copy(update={"steps": ()})
    texts = [check.text for check in checklist(empty_verdict, nothing)]
    assert "No speed was measured" in texts
    assert "No task was scored" in texts
