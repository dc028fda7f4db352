from whichbits.reporting.citations import Citations
from whichbits.reporting.panels import (
    cost_panel,
    emulation_panel,
    series_of,
    similarity_panels,
    size_panel,
    suite_panel,
    task_panel,
)


def test_base_is_grey_and_every_candidate_has_its_colour(verdict):
    series = series_of(verdict)
    assert series["bf16"] == "s0"
    assert len(set(series.values())) == len(verdict.formats)


def test_an_excluded_task_stands_in_words(verdict, context):
    panel = task_panel(verdict, Citations(context.steps))
    rows = next(g.rows for g in panel.groups if g.title == "humaneval")
    assert all("less than 5" in row.excluded for row in rows)
    assert rows[0].text == "score 3.1 %"
    assert not any(row.strip for row in rows)


def test_tasks_say_items_base_score_and_chance(verdict, context):
    panel = task_panel(verdict, Citations(context.steps))
    order = next(g for g in panel.groups if g.title == "order")
    assert order.subtitle == "2,400 items · base scores 56.2 % · chance 25.0 %"
    assert [row.emulated for row in order.rows] == [False, False, False, True, True]
    assert order.rows[0].text == "100.6 % (96.5 – 104.7)"


def test_suites_say_what_they_detect(verdict, context):
    panel = suite_panel(verdict, Citations(context.steps))
    assert panel.groups[0].rows[0].detail == "detects ±1.4 points · 2.6 % of items changed"
    assert [m.kind for m in panel.marks] == ["reference", "margin"]


def test_an_invalid_cost_is_crossed_out(verdict, context):
    panel = cost_panel(verdict, Citations(context.steps))
    rows = next(g.rows for g in panel.groups if g.title == "demo-chat · asynchronous")
    assert [(row.candidate, row.valid) for row in rows] == [("w8a8-int", True), ("w4a16-int", False), ("w4a16-int-mse", True)]
    assert "cross" in rows[1].strip
    assert rows[0].detail == "224,600 (223,700 – 225,500) queries per dollar"


def test_shares_are_shown_in_percent_and_differences_in_points(verdict, context):
    cite = Citations(context.steps)
    texts = [row.text for panel in similarity_panels(verdict, cite) for row in panel.groups[0].rows]
    assert "96.2 % (95.9 – 96.5)" in texts
    assert emulation_panel(verdict, cite).groups[0].rows[0].text == "0.1 points (−0.3 to 0.5)"


def test_sizes_are_bars(verdict, context):
    rows = size_panel(verdict, Citations(context.steps)).groups[0].rows
    assert rows[1].text == "163 MB (0.61×)"
    assert rows[1].detail == "163,400,000 bytes · 9.72 bits per weight"


def test_the_base_is_in_the_cost_chart_for_its_queries_per_dollar(verdict, context):
    base = verdict.cost[0].model_copy(update={"candidate": "bf16", "cost_reduction": None})
    panel = cost_panel(verdict.model_copy(update={"cost": (base, *verdict.cost)}), Citations(context.steps))
    row = panel.groups[0].rows[0]
    assert (row.candidate, row.series, row.text) == ("bf16", "s0", "1×")
    assert "queries per dollar" in row.detail


def test_one_measure_on_two_texts_is_two_panels(verdict, context):
    first = verdict.similarity[0]
    two = tuple(first.model_copy(update={"data": name}) for name in ("prompts", "novel"))
    panels = similarity_panels(verdict.model_copy(update={"similarity": two}), Citations(context.steps))
    assert [p.groups[0].subtitle for p in panels] == [
        "prompts · 128 items · higher is better",
        "novel · 128 items · higher is better",
    ]


def test_every_row_names_its_steps(verdict, context):
    cite = Citations(context.steps)
    panels = [task_panel(verdict, cite), suite_panel(verdict, cite), cost_panel(verdict, cite), emulation_panel(verdict, cite)]
    panels += [size_panel(verdict, cite), *similarity_panels(verdict, cite)]
    assert all('href="#step-' in row.cites for panel in panels for group in panel.groups for row in group.rows)


def test_nothing_measured_is_no_panel(empty_verdict):
    cite = Citations(())
    for build in (task_panel, suite_panel, emulation_panel, cost_panel, size_panel):
        assert build(empty_verdict, cite) is None
    assert similarity_panels(empty_verdict, cite) == []
