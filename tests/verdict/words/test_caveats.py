"""Every caveat in words."""

from typing import get_args

import pytest

from whichbits.verdict import caveat_codes as c
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.reasons import (
    FewRounds,
    LimitsNotShown,
    LoadsLeftOut,
    NearChance,
    RoundsLeftOut,
    RoundsNote,
    ServerStarts,
    TaskNearChance,
)
from whichbits.verdict.words.caveats import caveat

NEAR_CHANCE = NearChance(tasks=(TaskNearChance(task="guess", above_chance=0.02),), required=0.05)
SAID = [
    (c.Remark(text="the weights come from Q4_1"), "the weights come from Q4_1"),
    (
        c.TaskExcluded(task="guess", why=NEAR_CHANCE),
        "guess is left out of the suite: the base scores 2.0 points above chance, less than 5.",
    ),
    (c.TaskInsensitive(task="easy", reason="no room to differ"), "easy says little: no room to differ."),
    (
        c.ServerOfOtherWeights(candidate="a", distance=0.4, limit=0.1),
        "The server of a does not serve its weights: their log-probabilities differ by 0.400 nats a token, where rounding "
        "explains 0.100.",
    ),
    (
        c.ServerOfOtherArithmetic(candidate="a", differs="finer", from_float32=0.007, rounding=0.073),
        "The log-probabilities of a's server are 0.007 nats a token from float32's, where the checkpoint's own type gives "
        "0.073: it computes in FP16 or float32. Start all servers with the same --dtype.",
    ),
    (
        c.ServerOfOtherArithmetic(candidate="a", differs="coarser", from_float32=0.14, rounding=0.073),
        "The log-probabilities of a's server are 0.140 nats a token from float32's, where the checkpoint's own type gives "
        "0.073: its weights may be rounded to 8 bits, or its kernels coarser.",
    ),
    (
        c.WeightsNotCompared(candidate="a", reason="it gives no log-probabilities"),
        "Whether the server of a serves its weights is not known: it gives no log-probabilities.",
    ),
    (
        c.ImplausibleLoss(candidate="a", weight_bits=8, recovery=Estimate(value=70, low=65, high=75), floor=80),
        "a keeps 70.0 % (65.0 to 75.0) of the base's score above chance, where 8-bit weights keep more than 80 %: its "
        "checkpoint, tokenizer or chat template is probably damaged, or another model's.",
    ),
    (
        c.MeasuredOtherwise(candidates=("a", "b"), instead=("takes no token ids: texts are sent", "keeps no length")),
        "a and b: each server takes no token ids: texts are sent; it keeps no length.",
    ),
    (
        c.IdenticalScores(candidate="a", items=2000),
        "Every score of a equals the base's: exactly 100.0 % on 2,000 items. Make sure that its own checkpoint was scored, and "
        "not cached answers or the base.",
    ),
    (
        c.WithinNoise(candidate="a", flips=0.01, noise_floor_flips=0.02, tasks=("recall",), whole_suite=True),
        "a changes no more items than the base itself does from one run to the next.",
    ),
    (
        c.WithinNoise(candidate="a", flips=0.01, noise_floor_flips=0.02, tasks=("recall",), whole_suite=False),
        "a changes no more items than the base itself does from one run to the next on recall, where the base was run twice.",
    ),
    (
        c.FamilyWise(candidates=("a", "b"), family=21, level=0.95),
        "Each decision holds at its own level of 95%; for all 21 formats at once (Holm), a and b would be inconclusive.",
    ),
    (
        c.EmulatedAccuracy(candidates=("a",)),
        "a: the accuracy comes from emulation of the arithmetic; it was not scored as it is served, and is not recommended.",
    ),
    (
        c.EmulationDiffers(candidate="a", task="recall", difference=Estimate(value=-0.01, low=-0.02, high=0.001)),
        "Where a checkpoint was both served and emulated, the scores differ by at most -1.0 points (-2.0 to +0.1; a, recall).",
    ),
    (
        c.BeyondClient(candidate="a", workload="chat", load="concurrency 512", share=1.34),
        "a, chat, concurrency 512: 1.3 times as many tokens came as the load client can read, so it may be the client that was "
        "measured.",
    ),
    (
        c.OneStart(workloads=("chat", "reading")),
        "chat and reading: all rounds are of one start of each server; by how much another start would differ is in no "
        "interval.",
    ),
    (
        c.SeveralLooks(rounds=(3, 6), level=0.95),
        "Speeds are measured in 3 rounds, and in up to 6 where a comparison is open at one of 2 looks; each interval is wider, "
        "so that those of all looks hold together in 95%.",
    ),
    (
        c.StoppedEarly(method="group-sequential", looks=20, items=9000, all_items=30000, candidates=2, level=0.95),
        "Evaluation stopped where nothing was left to decide: 9,000 of 30,000 items were asked of the base and 2 candidates, "
        "70% saved. There were up to 20 looks (group-sequential); intervals of accuracy are wider, so that those of all looks "
        "hold together in 95%. Each decision by itself errs in 2.5% on either side, however many candidates there are.",
    ),
    (
        c.KernelsUnknown(candidates=("bf16", "a")),
        "bf16 and a: served by others than whichbits, so which kernels ran is not known.",
    ),
    (
        c.InvalidRound(candidate="a", workload="chat", load="synchronous", round=2, reasons=("client saturated",)),
        "Invalid and left out: a, chat, synchronous, round 2: client saturated.",
    ),
    (
        c.OutlyingRound(candidate="a", workload="chat", load="synchronous", round=2, ratio=0.5),
        "Far from the other rounds, and counted: a, chat, synchronous, round 2, 0.50 times their requests per second.",
    ),
    (
        c.StillRising(workload="chat", candidates=("a",)),
        "chat: a did best at the largest load measured, so a larger one may give more.",
    ),
    (
        c.PromptsShared(workload="chat", shared=0.7, cached={"bf16": 0.65, "a": 0.66}),
        "chat: 70 % of the prompt tokens are those of a prompt before, on purpose; from the prefix cache came 65 % of bf16's "
        "and 66 % of a's.",
    ),
    (
        c.PromptsShared(workload="chat", shared=0.7, cached={}),
        "chat: 70 % of the prompt tokens are those of a prompt before, on purpose; the servers do not say how many their cache "
        "held.",
    ),
    (
        c.LimitsNotKept(
            workload="chat", deployment="here", limits=(c.StatedLimit(metric="ttft", percentile=95.0, seconds=0.5),)
        ),
        "chat on here: no load of any format keeps its limits (ttft p95 ≤ 0.5 s).",
    ),
]
NOTES = [
    (RoundsLeftOut(measured=3, valid=1), "a against bf16: of 3 rounds, 1 is valid for both"),
    (FewRounds(code="one_round", rounds=1), "a against bf16: one round has no interval, so nothing is claimed of it"),
    (FewRounds(code="few_rounds", rounds=2), "a against bf16: with 2 rounds the interval is wide"),
    (
        LimitsNotShown(candidate="bf16", load="concurrency 4"),
        "bf16 at concurrency 4 is not shown to keep the limits, nor to miss one",
    ),
    (
        LoadsLeftOut(code="loads_not_shared", loads=("concurrency 64",), compared=("concurrency 16",)),
        "a against bf16: only one of them was measured at concurrency 64",
    ),
    (
        LoadsLeftOut(code="loads_left_out", loads=("concurrency 32",), compared=("concurrency 16",)),
        "a against bf16: concurrency 32 left out, being valid in fewer rounds than concurrency 16",
    ),
    (
        ServerStarts(rounds=6, starts=4, between=0.031, within=0.012, counted="starts"),
        "a against bf16: 6 rounds from 4 starts of the servers; from start to start the ratio differs by 3.1%, from round to "
        "round by 1.2%; each start counts once",
    ),
    (
        ServerStarts(rounds=4, starts=2, between=0.031, within=0.012, counted="rounds"),
        "a against bf16: 4 rounds from 2 starts of the servers; from start to start the ratio differs by 3.1%, from round to "
        "round by 1.2%; two are too few for the interval to hold that",
    ),
]


@pytest.mark.parametrize(("entry", "said"), SAID)
def test_a_caveat_in_words(entry, said):
    assert caveat(entry, "bf16") == said


@pytest.mark.parametrize(("note", "said"), NOTES)
def test_a_note_on_rounds_names_workload_and_mode(note, said):
    entry = c.Rounds(candidate="a", workload="chat", mode="asynchronous", note=note)
    assert caveat(entry, "bf16") == f"chat, asynchronous: {said}."


def test_every_kind_is_said_above():
    kinds = {type(entry) for entry, _ in SAID}
    assert kinds | {c.Rounds} == set(get_args(get_args(c.Caveat)[0]))
    assert {type(note) for note, _ in NOTES} == set(get_args(get_args(RoundsNote)[0]))
