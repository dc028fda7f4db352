from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

torch = pytest.importorskip("torch")

from whichbits.similarity import distributions  # noqa: E402
from whichbits.similarity.distributions import WindowComparison, summarise  # noqa: E402
from whichbits.similarity.measures.registry import distribution_measures  # noqa: E402

MEASURES = distribution_measures()


def compare_logits(base, candidate, targets, **options):
    """KL, tokens whose likeliest is the same, and the negative log-likelihoods of candidate and base."""
    return distributions.compare_logits(base, candidate, targets, MEASURES, **options)


def compare_distributions(windows, base, candidate, **options):
    return [row.row() for row in distributions.compare_distributions(windows, base, candidate, MEASURES, **options)]


def reference(base: np.ndarray, candidate: np.ndarray, targets: np.ndarray) -> tuple[float, int, float, float]:
    """The same sums in float64 from the definitions."""

    def probabilities(logits):
        powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    p, q = probabilities(base), probabilities(candidate)
    at = (np.arange(len(targets)), targets)
    return (p * np.log(p / q)).sum(), int((p.argmax(-1) == q.argmax(-1)).sum()), -np.log(q[at]).sum(), -np.log(p[at]).sum()


def test_by_hand():
    p = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
    q = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log() + 3
    kl, same, nll, base_nll = compare_logits(p, q, torch.tensor([1, 0]))
    assert kl == pytest.approx(0.5 * log(2) + 0.5 * log(2 / 3), abs=1e-6)
    assert same == 1
    assert nll == pytest.approx(-log(0.75) - log(0.5), abs=1e-6)
    assert base_nll == pytest.approx(2 * log(2), abs=1e-6)


def test_the_divergence_is_of_the_candidate_from_the_base():
    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    target = torch.tensor([0])
    assert compare_logits(p, q, target)[0] == pytest.approx(0.9 * log(1.8) + 0.1 * log(0.2), abs=1e-6)
    assert compare_logits(q, p, target)[0] == pytest.approx(0.5 * log(5 / 9) + 0.5 * log(5), abs=1e-6)


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("noise", [0.02, 0.3, 3.0])
def test_against_float64(block, noise):
    generator = np.random.default_rng(3)
    base = generator.normal(0, 4, (20, 5000)).astype(np.float32)
    candidate = (base + generator.normal(0, noise, base.shape)).astype(np.float32)
    targets = generator.integers(0, 5000, 20)
    found = compare_logits(torch.tensor(base), torch.tensor(candidate), torch.tensor(targets), block=block)
    expected = reference(base, candidate, targets)
    assert found[0] == pytest.approx(expected[0], rel=1e-3)
    assert found[1] == expected[1]
    assert found[2:] == pytest.approx(expected[2:], rel=1e-5)


logits = arrays.arrays(np.float32, (3, 11), elements=st.floats(-30, 30, width=32))


@settings(deadline=None)
@given(logits, logits)
def test_divergence_is_not_negative_and_exactly_zero_from_itself(left, right):
    targets = torch.tensor([0, 5, 10])
    base, candidate = torch.tensor(left), torch.tensor(right)
    kl, _, nll, base_nll = compare_logits(base, candidate, targets)
    assert kl >= 0
    assert kl == pytest.approx(reference(left, right, targets.numpy())[0], rel=1e-4, abs=1e-4)
    assert compare_logits(base, base, targets) == (0.0, 3, base_nll, base_nll)
    assert compare_logits(candidate, base, targets)[2:] == (base_nll, nll)


def test_a_token_that_both_rule_out_adds_nothing():
    base = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert compare_logits(base, base, torch.tensor([0]))[0] == 0.0


def test_what_does_not_fit_or_is_not_finite_is_refused():
    base = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="shapes"):
        compare_logits(base, torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="shapes"):
        compare_logits(base, base, torch.tensor([0]))
    with pytest.raises(ValueError, match="not finite"):
        compare_logits(base, torch.full((2, 3), torch.nan), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="not finite"):
        compare_logits(base, torch.tensor([[0.0, 0.0, -torch.inf]] * 2), torch.tensor([0, 1]))


def tiny(seed):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def model_logits(model):
    @torch.no_grad()
    def logits(ids):
        return model(input_ids=ids[None], use_cache=False).logits[0]

    return logits


def test_windows_of_a_transformers_model():
    model, other = tiny(0), tiny(1)
    generator = torch.Generator().manual_seed(0)
    windows = torch.randint(0, 97, (3, 17), generator=generator).tolist()
    rows = compare_distributions(windows, model_logits(model), model_logits(other), block=5)
    assert [(row["window"], row["tokens"]) for row in rows] == [(0, 16), (1, 16), (2, 16)]
    for row, window in zip(rows, windows, strict=True):
        ids = torch.tensor([window])
        with torch.no_grad():
            assert row["base_nll_sum"] / 16 == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), rel=1e-5)
            assert row["nll_sum"] / 16 == pytest.approx(other(input_ids=ids, labels=ids).loss.item(), rel=1e-5)
        assert row["kl_sum"] > 0
    same = compare_distributions(windows, model_logits(model), model_logits(model))
    assert [(row["kl_sum"], row["top1_same"], row["nll_sum"] - row["base_nll_sum"]) for row in same] == [(0.0, 16, 0.0)] * 3


def test_summary_weights_every_token_alike():
    described = tuple(measure.described for measure in MEASURES)
    sums = (0.5, 1, log(2), log(4)), (0.1, 0, 3 * log(2), 3 * log(4))
    found = summarise([WindowComparison(0, 1, described, sums[0]), WindowComparison(1, 3, described, sums[1])])
    assert found.n_tokens == 4
    assert {entry.measure.key: entry.value for entry in found.measures} == {
        "kl": pytest.approx(0.15),
        "top1_agreement": 0.25,
        "perplexity": pytest.approx(2),
        "base_perplexity": pytest.approx(exp(log(4))),
    }
