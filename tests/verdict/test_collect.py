from dataclasses import replace

import numpy as np
import pytest

from whichbits.schema.engine import OtherEngine
from whichbits.schema.provenance import Provenance
from whichbits.schema.serve import ClientCeiling, Evidence, ServeSummary
from whichbits.verdict import scored_tasks
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.pairing import PairingError, read_columns

FORMATS = {"bf16": "bf16", "w8a8-int": "w8a8-int"}
BASE, INT8 = [1, 1, 1, 0], [1, 0, 1, 0]


def test_pairs_each_candidate_with_the_base_in_its_own_engine(steps):
    records = [
        steps.evaluate("bf16", BASE),
        steps.evaluate("bf16", [1, 1, 0, 0], engine="emulated"),
        steps.evaluate("w8a8-int", INT8),
        steps.evaluate("w8a8-int", [1, 0, 0, 0], engine="emulated"),
    ]
    found = collect(records, "bf16", FORMATS)
    served, emulated = found.tasks
    assert (served.engine, served.provenance, served.pair.base.tolist()) == ("vllm", "measured", BASE)
    assert (emulated.engine, emulated.provenance, emulated.pair.base.tolist()) == ("emulated", "emulated", [1, 1, 0, 0])
    assert served.steps == (records[2].key, records[0].key)
    assert [(e.candidate, e.pair.base.tolist(), e.pair.score.tolist()) for e in found.emulation] == [
        ("bf16", BASE, [1, 1, 0, 0]),
        ("w8a8-int", INT8, [1, 0, 0, 0]),
    ]


def test_the_second_run_of_the_base_is_its_noise(steps):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("bf16", [1, 1, 0, 0], repeat=1, concurrency=4)]
    (noise,) = collect(records, "bf16", FORMATS).noise
    assert (noise.pair.base.tolist(), noise.pair.score.tolist()) == (BASE, [1, 1, 0, 0])


def test_generated_tasks_have_any_number_of_items_but_for_those_that_run_out(steps):
    tasks = {"recall": {"most": None}, "order": {"most": 649}, "arc": {"kind": "lm-eval"}}
    records = [steps.evaluate(name, scores, task=task, **stated) for name, scores in (("bf16", BASE), ("w8a8-int", INT8))
               for task, stated in tasks.items()]  # fmt: skip
    found = {s.task: s.available for s in collect(records, "bf16", FORMATS).tasks}
    assert found == {"recall": None, "order": 649, "arc": 4}


def test_a_store_from_before_most_was_written_is_read_rightly(steps):
    """Then only generators made items, and an advice to add items must not be lost."""
    records = [steps.evaluate(name, scores, task=task, kind=kind, available=4)
               for name, scores in (("bf16", BASE), ("w8a8-int", INT8))
               for task, kind in (("recall", "generated"), ("arc", "lm-eval"))]  # fmt: skip
    found = {s.task: s.available for s in collect(records, "bf16", FORMATS).tasks}
    assert found == {"recall": None, "arc": 4}


def test_scores_of_other_samples_are_no_pair(steps):
    drawn = {"temperature": 0.6, "top_p": 1.0, "samples": 4, "reducer": "mean"}
    records = [
        steps.evaluate("bf16", BASE, sampled=drawn),
        steps.evaluate("w8a8-int", INT8, sampled={**drawn, "samples": 8}),
    ]
    with pytest.raises(PairingError, match="samples differs, 4 and 8"):
        collect(records, "bf16", FORMATS)


def test_other_prompts_are_an_error(steps):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("w8a8-int", INT8, prompts="another prompt")]
    with pytest.raises(PairingError, match=r"recall \(vllm\), w8a8-int against bf16: prompt_hash of item"):
        collect(records, "bf16", FORMATS)


def test_other_concurrency_is_an_error(steps):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("w8a8-int", INT8, concurrency=1)]
    with pytest.raises(PairingError, match="concurrency differs, 16 and 1"):
        collect(records, "bf16", FORMATS)


def test_another_engine_version_is_an_error(steps):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("w8a8-int", INT8)]
    versions = [
        replace(r, provenance=Provenance(engine=OtherEngine(version=v))) for r, v in zip(records, ("0.31", "0.32"), strict=True)
    ]
    with pytest.raises(PairingError, match="engine differs"):
        collect(versions, "bf16", FORMATS)


def test_two_steps_of_the_same_meaning_are_an_error(steps):
    record = steps.evaluate("bf16", BASE)
    with pytest.raises(PairingError, match="two evaluate steps for bf16, recall, vllm"):
        collect([record, record], "bf16", FORMATS)


def test_failed_and_missing_steps_are_failures(steps):
    labels = {"candidate": "w8a8-int", "task": "recall", "engine": "vllm", "repeat": "0"}
    records = [
        steps.evaluate("bf16", BASE),
        steps.record("quantize", {"candidate": "w8a8-int", "format": "w8a8-int"}, state="failed", error="disk\nfull"),
        steps.record("evaluate", labels, state="missing"),
    ]
    found = collect(records, "bf16", FORMATS)
    assert found.tasks == ()
    assert [(failure.kind, failure.state, failure.error) for failure in found.failures] == [
        ("quantize", "failed", "disk\nfull"),
        ("evaluate", "missing", None),
    ]
    assert found.failures[1].labels == labels
    assert found.failed == {"w8a8-int": found.failures[0]}
    assert found.incomplete == {("w8a8-int", "vllm"): ("recall",)}


def test_similarity_tables(steps):
    labels = {"candidate": "w8a8-int", "prompts": "ours", "engine": "vllm"}
    texts = {name: [0.5, 1.0] for name in ("rouge1", "rougeL", "bertscore", "sts")}
    texts |= {"length_ratio": [1.0, None], "item": ["a", "b"]}
    windows = {"window": [0, 1], "tokens": [10, 30], "kl_sum": [1.0, 1.0], "top1_same": [9, 28], "nll_sum": [20.0, 60.0]}
    means = {"n_tokens": 40, "kl": 0.05, "top1_agreement": 0.925, "perplexity": 7.4, "base_perplexity": 7.0}
    records = [
        steps.record("compare", labels, {"n": 2, "rouge1": 0.75, "rougeL": 0.75, "bertscore": 0.75, "sts": 0.75}, texts),
        steps.record("distribution", {"candidate": "w8a8-int", "text": "ours"}, means, windows),
    ]
    found = {s.measure: s for s in collect(records, "bf16", FORMATS).similarity}
    assert set(found) == {"rouge1", "rougeL", "bertscore", "sts", "kl", "top1_agreement", "perplexity"}
    assert found["kl"].numerator.sum() / found["kl"].denominator.sum() == 0.05
    assert found["kl"].provenance == "emulated"
    assert found["sts"].provenance == "measured"


def test_rounds_keep_the_base_of_their_own_step(steps):
    found = collect([steps.serve("w8a8-int", 0, {1: (1.0, 1.5), 4: (2.0, 3.0)})], "bf16", FORMATS).rounds
    assert [(r.candidate, r.against, r.load_level) for r in found] == [
        ("w8a8-int", "w8a8-int", "synchronous"),
        ("w8a8-int", "w8a8-int", "concurrency 4"),
        ("bf16", "w8a8-int", "synchronous"),
        ("bf16", "w8a8-int", "concurrency 4"),
    ]
    assert [len(r.requests["latency_s"]) for r in found] == [10, 40, 10, 40]
    assert np.mean(found[2].requests["latency_s"]) == pytest.approx(1.5, rel=0.05)


def test_each_table_is_read_once_and_what_candidates_share_is_held_once(steps, monkeypatch):
    """Nothing of a study of half a million items a checkpoint is in memory twice."""
    read: list[str] = []

    def reading(path, columns):
        read.append(str(path))
        return read_columns(path, columns)

    monkeypatch.setattr(scored_tasks, "read_columns", reading)
    records = [steps.evaluate(name, scores) for name, scores in (("bf16", BASE), ("w8a8-int", INT8), ("w4a16-int", INT8))]
    first, second = collect(records, "bf16", FORMATS | {"w4a16-int": "w4a16-int"}).tasks
    assert sorted(read) == sorted(str(record.items) for record in records)
    assert first.pair.base is second.pair.base
    assert first.pair.cluster is second.pair.cluster
    assert (first.candidate, second.candidate) == ("w8a8-int", "w4a16-int")


def test_the_load_clients_ceiling_is_that_of_the_worst_session_and_flags_what_is_beyond_it(steps):
    """16 in flight at 1 s are 512 tokens a second, in chunks of two 256."""
    evidence = Evidence.model_construct(tokens_per_chunk=2.0, prefix_cache_hit_rate=None, server_started=None)

    def measured(repeat: int, ceiling: float | None):
        record = steps.serve("w8a8-int", repeat, {16: (1.0, 2.0)})
        summary = record.found(ServeSummary)
        levels = tuple(level.model_copy(update={"evidence": evidence}) for level in summary.load_levels)
        client = None if ceiling is None else ClientCeiling(tokens_per_second=ceiling, cores=2)
        return replace(record, summary=summary.model_copy(update={"load_levels": levels, "client_ceiling": client}))

    found = collect([measured(0, 1000.0), measured(1, 200.0), measured(2, None)], "bf16", FORMATS)
    assert found.client_ceiling == ClientCeiling(tokens_per_second=200.0, cores=2)
    assert found.client_ceiling.streams == 4
    shares = {r.repeat: r.client_share for r in found.rounds if r.candidate == "w8a8-int"}
    assert shares == {0: pytest.approx(0.256), 1: pytest.approx(1.28), 2: None}
    (flagged,) = [entry for entry in decide(found, study="s", model="m").caveats if entry.code == "beyond_client"]
    assert (flagged.candidate, flagged.load, flagged.share) == ("w8a8-int", "concurrency 16", pytest.approx(1.28))
    assert collect([measured(0, None)], "bf16", FORMATS).client_ceiling is None
