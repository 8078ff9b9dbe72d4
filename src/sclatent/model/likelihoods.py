"""Exact log-likelihoods of sparse counts, constants included.

Rates are μ = l · softmax(a) over the genes (and one *rest* category, when the logits have a column more than the data
has genes). Gamma functions are evaluated at the non-zeros only, there in float64 and in forms that do not cancel; the
rest of the arithmetic is float32. Poisson and negative binomial carry closed-form gradients; the others use autograd.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sclatent.model.batches import Batch

DEEP = 1e4
"""Cells with more counts than this get their softmax normaliser in float64: its error is multiplied by the counts."""
_TINY = 1e-30


def log_normaliser(logits: Tensor, total: Tensor) -> Tensor:
    """Log of the softmax normaliser (B,), float64, accurate enough to be multiplied by `total` counts."""
    if logits.dtype == torch.float64 or bool((total > DEEP).any()):
        return torch.logsumexp(logits.double(), 1)
    top = logits.amax(1, keepdim=True)
    return top[:, 0].double() + (logits - top).exp_().sum(1, dtype=torch.float64).log()


def log_gamma_ratio(x: Tensor, theta: Tensor) -> Tensor:
    """log Γ(x + θ) − log Γ(θ) for x ≥ 1 in float64, without the cancellation at large θ.

    Stirling's series with the common part taken out; small arguments use `lgamma`, which is exact enough there.
    """
    direct = torch.lgamma(x + theta) - torch.lgamma(theta)
    big = theta.clamp(min=64.0)
    ratio = (x + big - 0.5) * torch.log1p(x / big) + x * big.log() - x + _stirling(x + big) - _stirling(big)
    return torch.where(theta < 64.0, direct, ratio)


def _stirling(z: Tensor) -> Tensor:
    """Rest of Stirling's series, 1/(12 z) − 1/(360 z³) + 1/(1260 z⁵)."""
    inverse = 1.0 / z
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square / 1260))


def _digamma_ratio(x: Tensor, theta: Tensor) -> Tensor:
    """ψ(x + θ) − ψ(θ) in float64."""
    direct = torch.digamma(x + theta) - torch.digamma(theta)
    big = theta.clamp(min=1e3)
    upper = x + big
    ratio = torch.log1p(x / big) + 0.5 * x / (big * upper) - (1 / upper**2 - 1 / big**2) / 12
    return torch.where(theta < 1e3, direct, ratio)


def nb_log_pmf_nonzero(x: Tensor, log_mu: Tensor, theta: Tensor) -> Tensor:
    """Negative binomial log pmf without −log x!, float64, any shape, x ≥ 1.

    log Γ(x+θ) − log Γ(θ) + x log μ − x log(θ+μ) − θ log1p(μ/θ). Beyond 32 counts the sum is taken in the deviance
    form, in which every term is of the order of the result.
    """
    mu = log_mu.exp()
    plain = log_gamma_ratio(x, theta) + x * (log_mu - torch.log(theta + mu)) - theta * torch.log1p(mu / theta)
    large = (x > 32) & (theta > 64)
    if not bool(large.any()):
        return plain
    both = x + theta
    deviance = (
        both * torch.log1p((x - mu) / (theta + mu))
        + x * log_mu
        - 0.5 * torch.log1p(x / theta)
        - x
        + _stirling(both)
        - _stirling(theta.clamp(min=64.0))
    )
    return torch.where(large, deviance, plain)


class _Poisson(torch.autograd.Function):
    """Log-likelihood per cell (B,) with the gradient to the logits x − μ − softmax(a) Σ(x − μ)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, batch: Batch) -> Tensor:
        g = batch.n_genes
        lse = log_normaliser(logits, batch.total)
        log_library = batch.library.double().clamp(min=_TINY).log()
        shift = log_library - lse
        fraction = torch.exp(logits - lse[:, None].to(logits.dtype))
        library = batch.library.double()
        in_genes = library if logits.shape[1] == g else library * (1.0 - fraction[:, g].double())
        terms = batch.values.double() * (logits[batch.rows, batch.columns].double() + shift[batch.rows])
        log_prob = torch.zeros_like(lse).index_add_(0, batch.rows, terms) - in_genes - batch.log_factorial
        # d log p / d a = s − fraction Σ s with s = x − μ on the genes and 0 on the rest category
        score_sum = batch.total.double() - in_genes
        rest = fraction[:, g:] * -score_sum[:, None].to(logits.dtype)
        gradient = fraction.mul_(-(library + score_sum)[:, None].to(logits.dtype))
        gradient[:, g:] = rest
        gradient[batch.rows, batch.columns] += batch.values.to(gradient.dtype)
        ctx.save_for_backward(gradient)
        return log_prob.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0][:, None], None


class _NegativeBinomial(torch.autograd.Function):
    """Log-likelihood per cell (B,) with closed-form gradients to the logits and to θ ((1 | B) × genes)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, theta: Tensor, batch: Batch) -> Tensor:
        g, rows, columns = batch.n_genes, batch.rows, batch.columns
        lse = log_normaliser(logits, batch.total)
        shift = batch.library.double().clamp(min=_TINY).log() - lse
        mu = torch.exp(logits[:, :g] + shift[:, None].to(logits.dtype))
        ratio = mu / theta
        log1p = torch.log1p(ratio)
        x = batch.values.double()
        log_mu = logits[rows, columns].double() + shift[rows]
        theta_at = theta.expand(len(batch), g)[rows, columns].double()
        zeros = theta * log1p
        zeros[rows, columns] = 0.0
        log_prob = -zeros.sum(1, dtype=torch.float64) - batch.log_factorial
        log_prob.index_add_(0, rows, nb_log_pmf_nonzero(x, log_mu, theta_at))

        mu_at = log_mu.exp()
        score = -mu / (1.0 + ratio)
        score[rows, columns] = ((x - mu_at) / (1.0 + mu_at / theta_at)).to(score.dtype)
        total = score.sum(1, dtype=torch.float64).to(logits.dtype)
        gradient = torch.exp(logits - lse[:, None].to(logits.dtype)).mul_(-total[:, None])
        gradient[:, :g] += score

        saved = [gradient]
        if ctx.needs_input_grad[1]:
            # r/(1+r) − log1p(r), by its series where the two nearly cancel
            small = ratio < 0.02
            series = -ratio * ratio * (0.5 - ratio * (2 / 3 - 0.75 * ratio))
            by_theta = torch.where(small, series, ratio / (1.0 + ratio) - log1p)
            by_theta[rows, columns] = (
                _digamma_ratio(x, theta_at)
                - torch.log1p(mu_at / theta_at)
                + (mu_at - x) / (theta_at + mu_at)
            ).to(by_theta.dtype)
            saved.append(by_theta)
        ctx.save_for_backward(*saved)
        ctx.one_theta = theta.shape[0] == 1
        return log_prob.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        gradient, *rest = ctx.saved_tensors
        weight = grads[0][:, None]
        by_theta = None
        if rest:
            by_theta = (weight.T @ rest[0]) if ctx.one_theta else weight * rest[0]
        return gradient * weight, by_theta, None


def poisson(logits: Tensor, batch: Batch) -> Tensor:
    """Poisson log-likelihood of each cell (B,), in nats.

    Σ_{x>0} [x log μ − log x!] − Σ_g μ_g, where Σ_g μ_g = l (1 − ρ_rest).

    Parameters
    ----------
    logits
        Decoder output a (B × genes, or B × genes + 1 with the *rest* category last).
    batch
        The counts and library sizes.
    """
    return _Poisson.apply(logits, batch)


def negative_binomial(logits: Tensor, theta: Tensor, batch: Batch) -> Tensor:
    """Negative binomial log-likelihood of each cell (B,), in nats; variance μ + μ²/θ.

    Parameters
    ----------
    logits
        Decoder output a (B × genes, or B × genes + 1 with the *rest* category last).
    theta
        Inverse dispersion θ > 0 ((1 | B) × genes).
    batch
        The counts and library sizes.
    """
    return _NegativeBinomial.apply(logits, theta, batch)


def log_rate(logits: Tensor, batch: Batch) -> Tensor:
    """Log μ (B × genes), float32, differentiable: log l + a − logsumexp(a)."""
    return torch.log_softmax(logits, 1)[:, : batch.n_genes] + batch.library.clamp(min=_TINY).log()[:, None]


def _inflated(base_zero: Tensor, base_nonzero: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Mix a point mass at 0 of probability sigmoid(gate) with a count distribution.

    `base_zero` (B × genes) is its log p(0), `base_nonzero` (N,) float64 its log p(x) at the non-zeros.
    """
    log_keep = torch.nn.functional.logsigmoid(-gate)
    zero = torch.logaddexp(torch.nn.functional.logsigmoid(gate), log_keep + base_zero)
    at = (batch.rows, batch.columns)
    nonzero = base_nonzero + log_keep[at].double()
    at_zeros = zero.index_put(at, zero.new_zeros(()))
    return at_zeros.sum(1, dtype=torch.float64).index_add(0, batch.rows, nonzero)


def zip_(logits: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Zero-inflated Poisson log-likelihood of each cell (B,); `gate` (B × genes) is the logit of an extra zero."""
    log_mu = log_rate(logits, batch)
    at = log_mu[batch.rows, batch.columns].double()
    nonzero = batch.values.double() * at - at.exp()
    return (_inflated(-log_mu.exp(), nonzero, gate, batch) - batch.log_factorial).to(logits.dtype)


def zinb(logits: Tensor, theta: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Zero-inflated NB log-likelihood of each cell (B,); `gate` (B × genes) is the logit of an extra zero."""
    log_mu = log_rate(logits, batch)
    at = (batch.rows, batch.columns)
    theta_at = theta.expand(log_mu.shape)[at].double()
    nonzero = nb_log_pmf_nonzero(batch.values.double(), log_mu[at].double(), theta_at)
    zero = -theta * torch.log1p(log_mu.exp() / theta)
    return (_inflated(zero, nonzero, gate, batch) - batch.log_factorial).to(logits.dtype)


def bernoulli(logits: Tensor, batch: Batch) -> Tensor:
    """Log-likelihood (B,) of whether each count is above 0, with P(x > 0) = 1 − exp(−μ).

    That is a Poisson count of which only its presence was recorded, so rates and traversals keep their meaning.
    log p(0) = −μ and log p(1) = log(1 − exp(−μ)): again one logsumexp and the non-zeros.
    """
    log_mu = log_rate(logits, batch)
    at = log_mu[batch.rows, batch.columns].double()
    mu = at.exp()
    # log(1 − e^−μ) + μ: at the non-zeros −μ of the dense sum is taken back
    gain = torch.where(mu < math.log(2), (-torch.expm1(-mu)).log(), torch.log1p(-torch.exp(-mu))) + mu
    zero = -log_mu.exp().sum(1, dtype=torch.float64)
    return zero.index_add(0, batch.rows, gain).to(logits.dtype)
