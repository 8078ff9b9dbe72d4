"""Likelihoods against float64 references that share no code with them: torch.distributions, scipy, mpmath, autograd."""

from __future__ import annotations

from dataclasses import fields

import mpmath
import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.stats import nbinom
from scipy.stats import poisson as scipy_poisson
from torch.distributions import Bernoulli, NegativeBinomial, Poisson

from sclatent.model import LIKELIHOODS, CountVAE
from sclatent.model.batch import Batch
from sclatent.model.data import Batches, CountData
from sclatent.model.objective import PathwiseELBO
from sclatent.model.parts import encoder
from sclatent.model.parts import log_likelihoods as likelihoods
from sclatent.model.parts.likelihood import Sizes
from sclatent.settings import ModelSettings

COUNTS = np.array([0, 0, 0, 1, 2, 3, 7, 8, 9, 16, 17, 31, 32, 33, 34, 100, 1000, 9_000, 12_000, 100_000, 2_000_000])
THETAS = 10.0 ** np.arange(-4, 9)


@pytest.fixture(params=["cpu", "formulas", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the CPU with its kernels, the CPU with the formulas that a GPU computes, and a GPU where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if request.param == "formulas":
        monkeypatch.setattr(likelihoods, "_compiled", lambda logits: False)
    return "cuda" if request.param == "cuda" else "cpu"


def on(device: str, batch: Batch) -> Batch:
    """The same batch on another device."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return Batch(**{name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in values.items()})


def make_batch(counts: np.ndarray, library: np.ndarray) -> Batch:
    data = CountData(csr_matrix(counts.astype(np.float32)), library.astype(np.float32))
    return Batches(data).gather(np.arange(len(counts)))


def case(seed: int, n: int = 300, genes: int = 4, rest: bool = False, largest: float = 2e6):
    """Counts over the whole range, rates from far below to far above them, an empty cell and an all-zero gene."""
    rng = np.random.default_rng(seed)
    counts = rng.choice(COUNTS[largest >= COUNTS], size=(n, genes)).astype(float)
    counts[:, 1] = 0
    counts[0] = 0
    logits = torch.from_numpy(rng.normal(0, 2, (n, genes + rest)).astype(np.float32))
    library = counts.sum(1) * np.exp(rng.normal(0, 0.5, n))
    library[0] = 0 if seed % 2 else 3.0
    theta = torch.from_numpy(rng.choice(THETAS, size=(1, genes)).astype(np.float32))
    return make_batch(counts, library), logits, theta


def reference_log_mu(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    log_l = batch.library.double().clamp(min=1e-30).log()
    return (torch.log_softmax(logits.double(), 1) + log_l[:, None])[:, : batch.n_genes]


def reference_nb(log_mu: torch.Tensor, theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return NegativeBinomial(total_count=theta, logits=log_mu - theta.log(), validate_args=False).log_prob(x)


def assert_close(ours: torch.Tensor, reference: torch.Tensor) -> None:
    error = (ours.cpu().double() - reference).abs() / reference.abs().clamp(min=1.0)
    assert torch.isfinite(ours).all()
    assert error.max() <= 1e-5, f"worst error {error.max():.2e} at {int(error.argmax())}"


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_negative_binomial_value(seed: int, rest: bool, device: str) -> None:
    batch, logits, theta = case(seed, rest=rest)
    expected = reference_nb(reference_log_mu(logits, batch), theta.double(), batch.dense().double()).sum(1)
    assert_close(likelihoods.negative_binomial(logits.to(device), theta.to(device), on(device, batch)), expected)


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_poisson_value(seed: int, rest: bool, device: str) -> None:
    batch, logits, _ = case(seed, rest=rest)
    mu = reference_log_mu(logits, batch).exp()
    expected = Poisson(mu, validate_args=False).log_prob(batch.dense().double()).sum(1)
    scipy_value = scipy_poisson.logpmf(batch.dense().numpy(), mu.numpy()).sum(1)
    np.testing.assert_allclose(expected.numpy(), scipy_value, rtol=1e-9, atol=1e-9)
    assert_close(likelihoods.poisson(logits.to(device), on(device, batch)), expected)


@pytest.mark.parametrize("share", [0.9, 0.99, 0.999, 0.9999])
def test_poisson_where_the_rest_takes_nearly_all(share: float, device: str) -> None:
    """The rates of the genes are one minus the share of the rest, times a library of a million counts."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 1, (200, 51)).astype(np.float32))
    logits[:, 50] = logits[:, :50].double().logsumexp(1) + np.log(share / (1 - share))
    library = np.full(200, 1e6)
    counts = rng.poisson(1e6 * torch.softmax(logits.double(), 1)[:, :50].numpy())
    batch = make_batch(counts, library)
    mu = reference_log_mu(logits, batch).exp()
    expected = Poisson(mu, validate_args=False).log_prob(batch.dense().double()).sum(1)
    assert_close(likelihoods.poisson(logits.to(device), on(device, batch)), expected)


@pytest.mark.parametrize("x", [0, 1, 3, 32, 33, 50, 1000, 20_000, 2_000_000])
@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("factor", [0.01, 1.0, 30.0])
def test_single_entries_against_high_precision(x: int, theta: float, factor: float) -> None:
    """One gene beside another that takes the rest of the library: every entry on its own, to 40 digits."""
    mu = max(x, 1) * factor
    batch = make_batch(np.array([[x, 0]]), np.array([2 * mu]))
    logits = torch.tensor([[0.3, 0.3]])
    both = torch.tensor([[theta, 1e8]], dtype=torch.float32)
    with mpmath.workdps(40):
        expected = mpmath.mpf(0)
        for count, th in zip([x, 0], both[0].double().tolist(), strict=True):
            m, t = mpmath.mpf(float(batch.library[0])) / 2, mpmath.mpf(th)
            expected += mpmath.loggamma(count + t) - mpmath.loggamma(t) - mpmath.loggamma(count + 1)
            expected += count * mpmath.log(m / (t + m)) - t * mpmath.log1p(m / t)
    assert_close(
        likelihoods.negative_binomial(logits, both, batch), torch.tensor([float(expected)], dtype=torch.float64)
    )


def test_negative_binomial_matches_scipy() -> None:
    batch, logits, theta = case(3, largest=1000)
    mu, th = reference_log_mu(logits, batch).exp().numpy(), theta.double().numpy()
    expected = nbinom.logpmf(batch.dense().numpy(), th, th / (th + mu)).sum(1)
    assert_close(likelihoods.negative_binomial(logits, theta, batch), torch.from_numpy(expected))


@pytest.mark.parametrize("rows", ["one", "cell"])
@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_negative_binomial_gradients(seed: int, rest: bool, rows: str, device: str) -> None:
    batch, logits, theta = case(seed, rest=rest)
    if rows == "cell":
        rng = np.random.default_rng(seed)
        theta = torch.from_numpy(rng.choice(THETAS, size=(len(batch), batch.n_genes)).astype(np.float32))
    weight = torch.linspace(0.1, 1.0, len(batch))
    ours = [logits.clone().requires_grad_(), theta.clone().requires_grad_()]
    value = likelihoods.negative_binomial(*(leaf.to(device) for leaf in ours), on(device, batch))
    (value.cpu() * weight).sum().backward()
    exact = [logits.double().requires_grad_(), theta.double().requires_grad_()]
    log_mu = reference_log_mu(exact[0], batch)
    per_cell = reference_nb(log_mu, exact[1], batch.dense().double()).sum(1)
    (per_cell * weight.double()).sum().backward()
    # a gradient to the logits is a difference of counts and rates: the error is judged against those
    scale = 1.0 + batch.library.double()[:, None] + batch.dense().double().sum(1, keepdim=True)
    assert ((ours[0].grad - exact[0].grad).abs() / scale).max() < 1e-6
    if rows == "cell":
        # float64 autograd itself loses digits at large θ; per unit of log θ the gradient is a difference of O(x, μ)
        by_log = (ours[1].grad.double() - exact[1].grad) * theta.double()
        assert (by_log.abs() / (1.0 + batch.dense().double() + log_mu.detach().exp())).max() < 1e-5


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_poisson_gradient(seed: int, rest: bool, device: str) -> None:
    batch, logits, _ = case(seed, rest=rest)
    ours, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    likelihoods.poisson(ours.to(device), on(device, batch)).sum().backward()
    Poisson(reference_log_mu(exact, batch).exp(), validate_args=False).log_prob(batch.dense().double()).sum().backward()
    scale = 1.0 + batch.library.double()[:, None] + batch.dense().double().sum(1, keepdim=True)
    assert ((ours.grad - exact.grad).abs() / scale).max() < 1e-6


def test_gradients_against_finite_differences() -> None:
    batch, logits, theta = case(1, n=6, largest=100)
    batch.library[0] = 5.0
    theta = theta.clamp(0.1, 100.0)
    a, t = logits.double().requires_grad_(), theta.double().requires_grad_()
    # float64 logits take the device-independent formulas, which the compiled kernels are compared with below
    assert torch.autograd.gradcheck(
        lambda a, t: likelihoods.negative_binomial(a, t, batch), (a, t), eps=1e-6, atol=1e-5
    )
    assert torch.autograd.gradcheck(lambda a: likelihoods.poisson(a, batch), (a,), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("rest", [False, True])
def test_both_implementations_agree(rest: bool) -> None:
    batch, logits, theta = case(2, rest=rest)
    for f in (
        lambda a: likelihoods.poisson(a, batch),
        lambda a: likelihoods.negative_binomial(a, theta.to(a.dtype), batch),
    ):
        a, b = logits.clone().requires_grad_(), logits.double().requires_grad_()
        ours, other = f(a), f(b)
        assert_close(ours.detach(), other.detach())
        ours.sum().backward()
        other.sum().backward()
        scale = 1.0 + batch.library.double()[:, None] + batch.dense().double().sum(1, keepdim=True)
        assert ((a.grad - b.grad).abs() / scale).max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_zero_inflated(seed: int, device: str) -> None:
    batch, logits, theta = case(seed)
    gate = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, batch.dense().shape).astype(np.float32))
    x, log_mu = batch.dense().double(), reference_log_mu(logits, batch)
    pi = torch.sigmoid(gate.double())
    there, given = on(device, batch), [logits.to(device), theta.to(device), gate.to(device)]
    for ours, base in (
        (likelihoods.zero_inflated_nb(*given, there), reference_nb(log_mu, theta.double(), x)),
        (
            likelihoods.zero_inflated_poisson(given[0], given[2], there),
            Poisson(log_mu.exp(), validate_args=False).log_prob(x),
        ),
    ):
        zero = torch.logaddexp(pi.log(), torch.log1p(-pi) + base)
        assert_close(ours, torch.where(x == 0, zero, torch.log1p(-pi) + base).sum(1))


def test_bernoulli(device: str) -> None:
    rng = np.random.default_rng(0)
    counts = (rng.random((50, 30)) < 0.2) * 1.0
    batch = make_batch(counts, counts.sum(1) + 1)
    logits = torch.from_numpy(rng.normal(0, 2, (50, 30)).astype(np.float32)).requires_grad_()
    p = -torch.expm1(-reference_log_mu(logits.detach(), batch).exp())
    expected = Bernoulli(probs=p).log_prob(torch.from_numpy(counts)).sum(1)
    ours = likelihoods.bernoulli(logits.to(device), on(device, batch))
    assert_close(ours.detach(), expected)
    # presence is all that counts
    seven = on(device, make_batch(counts * 7, counts.sum(1) + 1))
    assert torch.equal(likelihoods.bernoulli(logits.to(device), seven), ours)
    ours.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_a_batch_without_any_count(device: str) -> None:
    batch = make_batch(np.zeros((3, 4)), np.array([0.0, 5.0, 7.0]))
    there, logits, theta = on(device, batch), torch.zeros(3, 4, device=device), torch.full((1, 4), 2.0, device=device)
    mu, gate = batch.library.double()[:, None].expand(3, 4) / 4, torch.full((3, 4), -3.0, device=device)
    nb, extra = 2 * torch.log(2 / (2 + mu)), torch.sigmoid(torch.tensor(-3.0, dtype=torch.float64))
    assert_close(likelihoods.poisson(logits, there), -mu.sum(1))
    assert_close(likelihoods.negative_binomial(logits, theta, there), nb.sum(1))
    assert_close(
        likelihoods.zero_inflated_poisson(logits, gate, there), (extra + (1 - extra) * (-mu).exp()).log().sum(1)
    )
    assert_close(
        likelihoods.zero_inflated_nb(logits, theta, gate, there), (extra + (1 - extra) * nb.exp()).log().sum(1)
    )
    assert_close(likelihoods.bernoulli(logits, there), -mu.sum(1))


def test_probabilities_sum_to_one() -> None:
    """Exact with constants: the pmf of one gene adds up to 1 over its counts."""
    n = 4000
    counts = np.stack([np.arange(n), np.zeros(n)], axis=1)
    batch = make_batch(counts, np.full(n, 40.0))
    logits = torch.tensor([[3.0, 0.0]]).expand(n, 2)
    theta = torch.tensor([[1.5, 1e8]])
    other = 40.0 / (1 + np.exp(3.0))
    for value, zero in (
        (likelihoods.poisson(logits, batch), -other),
        (likelihoods.negative_binomial(logits, theta, batch), -1e8 * np.log1p(other / 1e8)),
    ):
        assert abs((value.double() - zero).exp().sum().item() - 1) < 1e-5


def test_threads_do_not_change_a_byte() -> None:
    batch, logits, theta = case(5)
    results = []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        a = logits.clone().requires_grad_()
        value = likelihoods.negative_binomial(a, theta, batch)
        value.sum().backward()
        results.append((value.detach(), a.grad))
        torch.set_num_threads(before)
    for value, grad in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(grad, results[0][1])


def test_rates_at_the_ends_of_float32(device: str) -> None:
    """Small counts where the rate is nearly 0 or enormous: products of a few factors leave float32."""
    counts = np.array([[1, 0], [2, 0], [4, 0], [4, 0], [3, 0]])
    batch = make_batch(counts, np.array([1e-6, 1e-4, 1.0, 1e4, 9e3]))
    logits = torch.tensor([[-30.0, 0.0], [-40.0, 0.0], [-25.0, 0.0], [30.0, 0.0], [20.0, 0.0]])
    theta = torch.tensor([[1e8, 2.0]])
    expected = reference_nb(reference_log_mu(logits, batch), theta.double(), batch.dense().double()).sum(1)
    assert_close(likelihoods.negative_binomial(logits.to(device), theta.to(device), on(device, batch)), expected)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9999])
@pytest.mark.parametrize("depth", [300, 3e5, 3e6])
@pytest.mark.parametrize("kind", list(LIKELIHOODS))
def test_every_likelihood_in_float32_is_that_in_float64(
    kind: str, depth: float, share: float, dispersion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The formulas that a GPU runs, value and gradient, with a rest category that takes `share` (0: there is none)."""
    monkeypatch.setattr(likelihoods, "_compiled", lambda logits: False)
    given = LIKELIHOODS[kind].settings
    settings = given(dispersion=dispersion) if "dispersion" in given.model_fields else given()
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    n, genes, n_code = 60, 40, 3
    one = LIKELIHOODS[kind](Sizes(genes, n_code, ()), settings, generator)
    logits = torch.from_numpy(rng.normal(0, 1.5, (n, genes + (share > 0))).astype(np.float32))
    if share:
        logits[:, genes] = logits[:, :genes].double().logsumexp(1) + np.log(share / (1 - share))
    mu = depth * torch.softmax(logits.double(), 1)[:, :genes].numpy()
    counts = rng.poisson(mu * rng.standard_gamma(2.0, mu.shape) / 2)
    batch = make_batch(counts, np.maximum(np.full(n, depth), counts.sum(1)))
    code = torch.from_numpy(rng.normal(size=(n, n_code)).astype(np.float32))
    found = []
    for kept in (torch.float32, torch.float64):
        a, z = (part.detach().to(kept).requires_grad_() for part in (logits, code))
        value = one.to(kept).log_prob(a, z, batch)
        assert value.dtype == kept
        value.sum().backward()
        found.append((value.detach().double(), a.grad.double(), None if z.grad is None else z.grad.double()))
    (value, to_logits, to_code), (expected, expected_logits, expected_code) = found
    assert_close(value, expected)
    counted = 1.0 + batch.library.double()[:, None] * (1 - share) + batch.total.double()[:, None]
    assert ((to_logits - expected_logits).abs() / counted).max() < 1e-6
    if to_code is not None:
        scale = expected_code.abs().amax().clamp(min=1.0)
        assert (to_code - expected_code).abs().max() < 1e-4 * scale


@pytest.mark.parametrize("likelihood", ["nb", "poisson"])
def test_what_a_gpu_computes(likelihood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path without compiled kernels, in float32, with gathers by tensors, agrees with the kernels."""
    batch, _, _ = case(1, n=40, genes=20, largest=1000)
    counts = csr_matrix(batch.dense().numpy())
    data = CountData(counts, np.asarray(counts.sum(1)).ravel())
    vae = CountVAE(20, ModelSettings(n_latent=2, n_hidden=8, likelihood=likelihood, dropout=0))
    found = []
    for device_path in (False, True):
        batches = Batches(data)
        if device_path:
            batches.to_device()
            assert batches.resident
            monkeypatch.setattr(likelihoods, "_compiled", lambda logits: False)
            monkeypatch.setattr(encoder, "_compiled", lambda batch, weight: False)
        vae.zero_grad()
        cells, noise = batches.gather(np.arange(40)[::-1]), torch.Generator().manual_seed(0)
        loss = PathwiseELBO(vae.settings.objective).loss(vae, cells, noise, None, 1.0)
        loss.cells.mean().backward()
        found.append((loss.fit.detach(), {name: p.grad.clone() for name, p in vae.named_parameters() if p.numel()}))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-4)
    for name, gradient in found[0][1].items():
        scale = gradient.abs().max().clamp(min=1e-3)
        assert ((gradient - found[1][1][name]).abs() / scale).max() < 1e-4, name
    batches.to_host()
    assert not batches.resident
