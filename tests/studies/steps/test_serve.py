"""Steps of a workload whose requests come from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from whichbits.schema.serve import ServeInputs
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.serving.traffic.resolve import recorded, with_lengths
from whichbits.serving.workload import named_workloads, parse_workload
from whichbits.studies.steps.serve import located

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
