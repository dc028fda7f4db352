"""Steps of a workload: their keys, and what is measured in a further round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from whichbits.schema.labels import Labels
from whichbits.schema.serve import CapacityRun, EarlierRuns, ServeInputs, ServeLocal, ServeSummary
from whichbits.schema.step import Step
from whichbits.schema.workload import Loads, Workload
from whichbits.serving.traffic.resolve import recorded, with_lengths
from whichbits.serving.workload import named_workloads, parse_workload
from whichbits.studies.steps.registry import summary_of
from whichbits.studies.steps.serve import located, run
from whichbits.studies.steps.step import Job, Result

LOG = "arrival_s,prompt_tokens,output_tokens\n0,10,4\n1,20,6\n"


def test_the_key_knows_the_logs_content_and_not_its_folder(tmp_path: Path, serve_step: Callable[[Workload], Step]) -> None:
    steps = []
    for folder, text in (("a", LOG), ("b", LOG), ("c", LOG.replace("1,", "2,"))):
        path = tmp_path / folder / "log.csv"
        path.parent.mkdir()
        path.write_text(text)
        steps.append(serve_step(parse_workload(with_lengths({"name": "mine", "trace": str(path)}, tmp_path))))
        assert located(steps[-1]).file == path and len(recorded(located(steps[-1]))) == 2
    assert steps[0].key == steps[1].key != steps[2].key


def test_a_workload_without_a_file_has_the_inputs_of_before(serve_step: Callable[[Workload], Step]) -> None:
    step = serve_step(named_workloads()["rag"])
    assert "requests" not in step.inputs_as(ServeInputs).model_dump(mode="json")
    assert located(step) == named_workloads()["rag"]


def test_the_target_rate_is_no_part_of_the_key(serve_step: Callable[[Workload], Step]) -> None:
    fields = {"name": "mine", "prompt_tokens": 9, "output_tokens": 9, "capacity": {}, "slo": {"ttft": {"seconds": 1}}}
    asked = [parse_workload({**fields, "target_rate": rate}) for rate in (None, 2, 4)]
    assert len({serve_step(workload).key for workload in asked}) == 1


@pytest.mark.parametrize(
    ("name", "arrivals"),
    [
        ("synchronous", None),
        ("concurrency 4", None),
        ("rate 2, burstiness 0.5", "rate"),
        ("ramp 1 to 3", "ramp"),
        ("trace, speed 4", "trace"),
        ("capacity run 3", "rate"),
    ],
)
@pytest.mark.parametrize("names", [("load_level", "load_levels", "base_load_levels"), ("rung", "rungs", "base_rungs")])
def test_how_requests_arrived_is_read_of_the_names_of_a_store_of_before(
    name: str, arrivals: str | None, names: tuple[str, str, str]
) -> None:
    own, levels, base_levels = names
    level = {
        own: name,
        "concurrency": None,
        "valid": True,
        "metrics": {"requests_per_second": 1, "output_tokens_per_second": 1},
    }
    found = summary_of("serve", {"session": "one", levels: [level], base_levels: [{**level, "arrivals": "ramp"}]})
    assert isinstance(found, ServeSummary)
    assert [found.load_levels[0].arrivals, found.base_load_levels[0].arrivals] == [arrivals, "ramp"]


@dataclass
class Servers:
    """What steps may ask of the runner: servers that are up."""

    urls: Mapping[str, str]

    def progress(self, text: str) -> None:
        """Nobody listens."""

    def server(self, name: str) -> str:
        """Its address."""
        return self.urls[name]


@pytest.mark.slow
def test_in_a_further_round_each_has_its_own_loads_and_the_base_those_of_all(
    start_engine: Callable[..., str], serve_step: Callable[[Workload], Step], word_tokenizer: Path, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")
    whole = parse_workload(
        {
            "name": "mine", "prompt_tokens": 8, "output_tokens": 4, "concurrency": [2, 4], "requests_per_stream": 5,
            "rate": [20, 40], "rate_requests": 20, "slo": {"latency": {"seconds": 0.5, "percentile": 10}},
            "capacity": {"runs": 1},
        }
    )  # fmt: skip
    loads = {"a": Loads(in_flight=(1, 4)), "b": Loads(in_flight=(4,), rates=(20.0,), capacity=True)}
    held, missed = CapacityRun(rate=100.0, worst=0.5), CapacityRun(rate=200.0, worst=None)
    earlier = EarlierRuns(candidate=(held, missed), base=(held, missed.model_copy(update={"rate": 140.0})))
    jobs = []
    for name, at in loads.items():
        step = serve_step(whole.at(at))
        inputs = step.inputs_as(ServeInputs).model_copy(
            update={"earlier": earlier if at.capacity else None, "repeat": 3, "seed": 3}
        )
        local = ServeLocal(base="bf16", base_checkpoint=tmp_path, tokenizer=word_tokenizer)
        labels = Labels(candidate=name, workload="mine", deployment="here", repeat=3)
        folder = tmp_path / name
        folder.mkdir()
        jobs.append(Job(replace(step, inputs=inputs, labels=labels, local=local), folder, {}))
    found: dict[str, ServeSummary] = {}
    for job, outcome in run(jobs, Servers({name: start_engine(ttft=0.01, itl=0.002) for name in ("bf16", *loads)})):
        assert isinstance(outcome, Result) and isinstance(outcome.summary, ServeSummary), outcome
        found[job.step.labels.candidate] = outcome.summary
    levels = {name: [level.load_level for level in summary.load_levels] for name, summary in found.items()}
    assert levels == {"a": ["synchronous", "concurrency 4"], "b": ["concurrency 4", "rate 20", "capacity run 1"]}
    of_base = found["a"].base_load_levels
    assert [level.load_level for level in of_base] == ["synchronous", "concurrency 4", "rate 20", "capacity run 1"]
    assert of_base == found["b"].base_load_levels, "it was measured once"
    rates = [level.rate for level in (found["b"].load_levels[-1], of_base[-1])]
    assert rates == pytest.approx([(100 * 200) ** 0.5, (100 * 140) ** 0.5]), "both searches went on where they were"
