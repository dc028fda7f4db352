from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from whichbits.quantization.statistics.hessian import (  # noqa: E402
    accumulate,
    accumulate_errors,
    column_importance,
    factorise,
    inverse_of_lower,
    mirror,
    output_error,
    shrunk,
)


def inputs(tokens: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Correlated inputs with a few large channels, as a transformer's are."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(tokens, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    return mixed * torch.logspace(-1, 1, columns)[torch.randperm(columns, generator=generator)]


def hessian_of(x: torch.Tensor) -> torch.Tensor:
    hessian = torch.zeros(x.shape[-1], x.shape[-1])
    accumulate(hessian, x)
    mirror(hessian)
    return hessian


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_batches_add_up_to_the_product_with_the_digits_of_their_dtype(dtype: torch.dtype, digits: float) -> None:
    x = inputs(192, 24).to(dtype)
    hessian = torch.zeros(24, 24)
    accumulate(hessian, x[:64].reshape(2, 32, 24))
    accumulate(hessian, x[64:])
    exact = x.to(torch.float64).T @ x.to(torch.float64)
    lengths = exact.diagonal().sqrt()
    difference = (hessian.to(torch.float64) - exact).tril() / lengths.outer(lengths)
    assert float(difference.abs().max()) < digits


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-5), (torch.bfloat16, 8e-3)])
def test_products_of_errors_add_up_with_the_digits_of_their_dtype(dtype: torch.dtype, digits: float) -> None:
    x, errors, weights = inputs(192, 24).to(dtype), inputs(192, 8, seed=1), torch.rand(192)
    total = torch.zeros(8, 24)
    accumulate_errors(total, errors[:64].reshape(2, 32, 8), x[:64].reshape(2, 32, 24), weights[:64])
    accumulate_errors(total, errors[64:], x[64:], weights[64:])
    exact = (errors.double() * weights.double().unsqueeze(1)).T @ x.double()
    lengths = (errors.double().square() * weights.double().unsqueeze(1)).sum(0).sqrt().outer(x.double().square().sum(0).sqrt())
    assert float(((total.double() - exact) / lengths).abs().max()) < digits
    plain = torch.zeros(8, 24)
    accumulate_errors(plain, errors, x)
    assert float(((plain.double() - errors.double().T @ x.double()) / lengths).abs().max()) < 2 * digits


def test_a_massive_token_takes_no_digits_from_the_others() -> None:
    """One token a thousand times as large as the others in two columns: what is left without them is exact to BF16."""
    x = inputs(192, 24).to(torch.bfloat16)
    x[7, :2] = 1000 * float(x.abs().max())
    hessian = torch.zeros(24, 24)
    accumulate(hessian, x)
    exact = x.to(torch.float64).T @ x.to(torch.float64)
    massive = x[7].to(torch.float64).outer(x[7].to(torch.float64))
    lengths = (exact - massive).diagonal().sqrt()
    difference = (hessian.to(torch.float64) - exact).tril() / lengths.outer(lengths)
    assert float(difference[2:, 2:].abs().max()) < 4e-3
    torch.testing.assert_close(hessian[:2, :2].tril(), exact[:2, :2].tril().float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("act_order", [False, True])
def test_the_factor_is_the_papers(act_order: bool) -> None:
    """Against the three steps of the paper (Cholesky, inverse, Cholesky) in float64."""
    hessian = hessian_of(inputs(256, 40))
    factor = factorise(hessian, damping=0.01, act_order=act_order)
    order = torch.argsort(hessian.diagonal(), descending=True) if act_order else torch.arange(40)
    damped = hessian.to(torch.float64)[order][:, order]
    damped += 0.01 * damped.diagonal().mean() * torch.eye(40)
    paper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    assert torch.equal(factor.order, order)
    assert factor.damping == 0.01
    assert torch.equal(factor.upper, factor.upper.triu())
    torch.testing.assert_close(factor.upper.to(torch.float64), paper, rtol=1e-3, atol=1e-4 * float(paper.abs().max()))


def test_a_dead_column_disturbs_no_other() -> None:
    x = inputs(128, 16)
    x[:, 5] = 0
    factor = factorise(hessian_of(x), damping=0.01, act_order=False)
    off_diagonal = factor.upper - factor.upper.diagonal().diag()
    assert not off_diagonal[5].any()
    assert not off_diagonal[:, 5].any()
    living = [column for column in range(16) if column != 5]
    without = factorise(hessian_of(x[:, living]), damping=0.01, act_order=False)
    torch.testing.assert_close(factor.upper[living][:, living], without.upper, rtol=1e-3, atol=1e-6)


def test_damping_grows_until_the_factorisation_works() -> None:
    """Eigenvalues 2.05 and -0.05 and a mean diagonal of 1: positive definite from a damping of 0.05."""
    hessian = torch.tensor([[1.0, 1.05], [1.05, 1.0]])
    assert factorise(hessian, damping=0.01, act_order=False).damping == pytest.approx(0.1)
    assert factorise(hessian, damping=0.06, act_order=False).damping == 0.06


@pytest.mark.parametrize("bad", [[[1.0, 3.0], [3.0, 1.0]], [[1.0, float("nan")], [float("nan"), 1.0]]])
def test_what_never_factorises_is_an_error(bad: list[list[float]]) -> None:
    with pytest.raises(ArithmeticError):
        factorise(torch.tensor(bad), damping=0.01, act_order=True)


def test_no_tokens_at_all_is_plain_rounding() -> None:
    factor = factorise(torch.zeros(3, 3), damping=0.01, act_order=True)
    assert torch.equal(factor.upper, torch.eye(3))


def test_output_error_is_that_of_the_outputs() -> None:
    x = inputs(64, 12)
    difference = torch.randn(5, 12, generator=torch.Generator().manual_seed(3))
    by_outputs = float((x.to(torch.float64) @ difference.to(torch.float64).T).square().sum())
    assert output_error(difference, hessian_of(x)) == pytest.approx(by_outputs, rel=5e-3)


def test_importance_by_hand() -> None:
    diagonal = torch.tensor([9.0, 1.0, 2.0, 0.0])  # mean 3
    assert column_importance(diagonal).tolist() == pytest.approx([3, 1 / 3, 2 / 3, 1e-3])
    assert column_importance(torch.zeros(2)).tolist() == [1, 1]


def test_shrinkage_goes_by_the_typical_column() -> None:
    diagonal = torch.tensor([400.0, 1.0, 0.0])  # geometric mean of 400 and 1: 20
    torch.testing.assert_close(shrunk(diagonal, 0.5), torch.tensor([410.0, 11.0, 0.0]))
    assert shrunk(diagonal, 0.0) is diagonal
    assert torch.equal(shrunk(torch.zeros(2), 0.5), torch.zeros(2))
    hessian = torch.tensor([[400.0, 3.0], [3.0, 1.0]])
    found = factorise(hessian, damping=0.01, act_order=False, shrinkage=0.5)
    expected = factorise(hessian + 10 * torch.eye(2), damping=0.01, act_order=False)
    torch.testing.assert_close(found.upper, expected.upper)


@pytest.mark.parametrize("columns", [3, 192, 193, 700])
def test_the_inverse_by_halves_is_the_inverse(columns: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    lower = torch.randn(columns, columns, generator=generator, dtype=torch.float64).tril() / columns**0.5
    lower += 2 * torch.eye(columns)
    inverse = inverse_of_lower(lower)
    torch.testing.assert_close(inverse @ lower, torch.eye(columns, dtype=torch.float64), rtol=0, atol=1e-10)
    assert torch.equal(inverse, inverse.tril())


@pytest.mark.parametrize("columns", [7, 256, 600])
def test_strips_and_mirror_give_the_weighted_hessian(columns: int) -> None:
    x, weights = torch.randn(40, columns), torch.rand(40)
    hessian = torch.zeros(columns, columns)
    accumulate(hessian, x, weights)
    mirror(hessian)
    exact = x.double().T @ (weights.double().unsqueeze(1) * x.double())
    torch.testing.assert_close(hessian.double(), exact, rtol=1e-4, atol=1e-4)
    assert torch.equal(hessian, hessian.T)
