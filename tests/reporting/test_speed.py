import re

from whichbits.reporting.citations import Citations
from whichbits.reporting.speed import metric_title, pareto_charts, speed_sections
from whichbits.serving.metrics.registry import all_metrics

METRICS = {metric.described.key: metric.described for metric in all_metrics()}


def test_invalid_figures_are_listed_and_drawn_as_crosses(verdict, context):
    (section,) = speed_sections(verdict, Citations(context.steps))
    assert {(row.candidate, row.load_level) for row in section.invalid} == {("w4a16-int", "concurrency 16")}
    assert all(chart.chart.count("cross") == 1 for chart in section.charts)
    assert len(section.rows) == len(verdict.speed)


def test_load_levels_stand_in_order_of_load(verdict, context):
    shuffled = verdict.model_copy(update={"speed": verdict.speed[::-1]})
    (section,) = speed_sections(shuffled, Citations(context.steps))
    assert list(dict.fromkeys(row.load_level for row in section.rows)) == ["synchronous", "concurrency 4", "concurrency 16"]
    assert section.charts[0].title == "Requests per second"


def test_a_metric_is_named_with_its_statistic():
    assert metric_title(METRICS["ttft_s"], 95.0) == "Time to first token (TTFT), p95"
    assert metric_title(METRICS["latency_s"], None) == "Request latency, mean"
    assert metric_title(METRICS["requests_per_second"], None) == "Requests per second"


def test_pareto_says_who_is_not_on_it_and_why(verdict, context):
    synchronous, asynchronous = pareto_charts(verdict, Citations(context.steps))
    assert synchronous.chart.count('class="datum"') == 4
    assert "w8a8-fp: emulated, so it has no speed" in synchronous.absent
    assert asynchronous.chart.count('class="datum"') == 3
    assert "w4a16-int: its speed run is invalid" in asynchronous.absent


def test_nothing_measured_is_no_chart(empty_verdict):
    assert speed_sections(empty_verdict, Citations(())) == []
    assert pareto_charts(empty_verdict, Citations(())) == []


def test_rates_of_arrival_stand_beside_requests_in_flight(verdict, context):
    rated = [
        f.model_copy(update={"load_level": f"rate {r}"})
        for r in ("10", "2.5")
        for f in verdict.speed
        if f.load_level == "synchronous"
    ]
    (section,) = speed_sections(verdict.model_copy(update={"speed": (*rated, *verdict.speed)}), Citations(context.steps))
    labels = re.findall(r'text-anchor="middle">([^<]*)<', section.charts[0].chart)
    assert labels == ["sync", "4", "16", "2.5/s", "10/s"]
