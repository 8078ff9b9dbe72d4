"""The closed-form likelihoods in plain PyTorch: any device, any floating type.

Dense terms are evaluated in the type of the logits; the non-zeros in float64, in forms that do not cancel. The
compiled kernels of `likelihood_rows` compute the same on the CPU in one pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sclatent.model.batch import Batch

DEEP = 1e4
"""Cells with more counts than this get their softmax normaliser in float64: its error is multiplied by the counts."""
TINY = 1e-30
"""Stands for a library size of 0, whose logarithm is needed; every rate is then 0 to float32."""


def log_normaliser(logits: Tensor, total: Tensor) -> Tensor:
    """Log of the softmax normaliser (B,), float64, accurate enough to be multiplied by `total` counts."""
    if logits.dtype == torch.float64 or bool((total > DEEP).any()):
        return torch.logsumexp(logits.double(), 1)
    top = logits.amax(1, keepdim=True)
    return top[:, 0].double() + (logits - top).exp_().sum(1, dtype=torch.float64).log()


def add_by_cell(start: Tensor, terms: Tensor, batch: Batch) -> Tensor:
    """Return `start` (B,) plus the sum over each cell of `terms` (N,) at the non-zeros, both float64."""
    if terms.is_cuda:  # there `index_add` adds in another order every time
        return start + torch.segment_reduce(terms, "sum", offsets=batch.offsets, unsafe=True)
    return start.index_add(0, batch.rows, terms)


def _stirling(z: Tensor) -> Tensor:
    """Rest of Stirling's series: log Γ(z) − [(z − ½) log z − z + ½ log 2π]."""
    inverse = 1.0 / z
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square / 1260))


def log_gamma_ratio(x: Tensor, theta: Tensor) -> Tensor:
    """Log Γ(x + θ) − log Γ(θ) in float64: by Stirling's series, the common part taken out, where θ is large."""
    direct = torch.lgamma(x + theta) - torch.lgamma(theta)
    big = theta.clamp(min=64.0)
    ratio = (x + big - 0.5) * torch.log1p(x / big) + x * big.log() - x + _stirling(x + big) - _stirling(big)
    return torch.where(theta < 64.0, direct, ratio)


def digamma_ratio(x: Tensor, theta: Tensor) -> Tensor:
    """Digamma difference ψ(x + θ) − ψ(θ) in float64."""
    direct = torch.digamma(x + theta) - torch.digamma(theta)
    big = theta.clamp(min=1e3)
    upper = x + big
    ratio = torch.log1p(x / big) + 0.5 * x / (big * upper) - (1 / upper**2 - 1 / big**2) / 12
    return torch.where(theta < 1e3, direct, ratio)


def nb_log_pmf_nonzero(x: Tensor, log_mu: Tensor, theta: Tensor) -> Tensor:
    """Negative binomial log pmf without −log x!, float64, any shape, x ≥ 1; differentiable.

    log Γ(x+θ) − log Γ(θ) + x log μ − x log(θ+μ) − θ log1p(μ/θ). Large counts with a large θ use the deviance form, in
    which every term is of the order of the result.
    """
    mu = log_mu.exp()
    plain = log_gamma_ratio(x, theta) + x * (log_mu - torch.log(theta + mu)) - theta * torch.log1p(mu / theta)
    both, big = x + theta, theta.clamp(min=64.0)
    deviance = (
        both * torch.log1p((x - mu) / (theta + mu))
        + x * (log_mu - 1.0)
        - 0.5 * torch.log1p(x / theta)
        + _stirling(both.clamp(min=64.0))
        - _stirling(big)
    )
    return torch.where((x > 32) & (theta > 64), deviance, plain)


def poisson(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood per cell (B,), float64, and its gradient to the logits."""
    g = batch.n_genes
    lse = log_normaliser(logits, batch.total)
    library = batch.library.double()
    shift = library.clamp(min=TINY).log() - lse
    fraction = torch.exp(logits - lse[:, None].to(logits.dtype))
    # where the rest category takes nearly all, one minus its share is exact in float64 only
    in_genes = library if logits.shape[1] == g else -library * torch.expm1(logits[:, g].double() - lse)
    terms = batch.values.double() * (logits[batch.rows, batch.columns].double() + shift[batch.rows])
    log_prob = add_by_cell(torch.zeros_like(lse), terms, batch) - in_genes - batch.log_factorial
    # d log p / d a = s − fraction Σ s with s = x − μ on the genes and 0 on the rest category
    score_sum = batch.total.double() - in_genes
    rest = fraction[:, g:] * -score_sum[:, None].to(logits.dtype)
    gradient = fraction.mul_(-(library + score_sum)[:, None].to(logits.dtype))
    gradient[:, g:] = rest
    gradient[batch.rows, batch.columns] += batch.values.to(gradient.dtype)
    return log_prob, gradient


def bernoulli(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood of presence per cell (B,), float64, and its gradient to the logits."""
    g = batch.n_genes
    lse = log_normaliser(logits, batch.total)
    library = batch.library.double()
    log_mu = logits[batch.rows, batch.columns].double() + (library.clamp(min=TINY).log() - lse)[batch.rows]
    mu = log_mu.exp()
    # log(e^μ − 1), in a form that does not cancel: below 1e-6 its series
    small = mu < 1e-6
    present = torch.where(small, log_mu + 0.5 * mu, mu + torch.log1p(-torch.exp(-mu.clamp(min=1e-7))))
    pull = torch.where(small, 1.0 + 0.5 * mu, mu / -torch.expm1(-mu.clamp(min=1e-7)))
    fraction = torch.exp(logits - lse[:, None].to(logits.dtype))
    in_genes = library if logits.shape[1] == g else -library * torch.expm1(logits[:, g].double() - lse)
    log_prob = add_by_cell(-in_genes, present, batch)
    # d log p / d a = s − fraction Σ s, s = μ / (1 − e^−μ) at the non-zeros, less μ at all genes
    score_sum = add_by_cell(-in_genes, pull, batch)
    rest = fraction[:, g:] * -score_sum[:, None].to(logits.dtype)
    gradient = fraction.mul_(-(library + score_sum)[:, None].to(logits.dtype))
    gradient[:, g:] = rest
    gradient[batch.rows, batch.columns] += pull.to(gradient.dtype)
    return log_prob, gradient


def negative_binomial(logits: Tensor, theta: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-likelihood per cell (B,), float64, and its gradients to the logits and to θ (B × genes)."""
    g, rows, columns = batch.n_genes, batch.rows, batch.columns
    lse = log_normaliser(logits, batch.total)
    shift = batch.library.double().clamp(min=TINY).log() - lse
    mu = torch.exp(logits[:, :g] + shift[:, None].to(logits.dtype))
    ratio = mu / theta
    log1p = torch.log1p(ratio)
    x = batch.values.double()
    log_mu_at = logits[rows, columns].double() + shift[rows]
    mu_at = log_mu_at.exp()
    theta_at = theta.expand(len(batch), g)[rows, columns].double()
    # the sum over the zeros has one sign, so it does not cancel
    zeros = theta * log1p
    zeros[rows, columns] = 0.0
    log_prob = -zeros.sum(1, dtype=torch.float64) - batch.log_factorial
    log_prob = add_by_cell(log_prob, nb_log_pmf_nonzero(x, log_mu_at, theta_at), batch)

    score = -mu / (1.0 + ratio)
    score[rows, columns] = ((x - mu_at) / (1.0 + mu_at / theta_at)).to(score.dtype)
    total = score.sum(1, dtype=torch.float64).to(logits.dtype)
    gradient = torch.exp(logits - lse[:, None].to(logits.dtype)).mul_(-total[:, None])
    gradient[:, :g] += score

    # r/(1+r) − log1p(r), by its series where the two nearly cancel
    series = -ratio * ratio * (0.5 - ratio * (2 / 3 - 0.75 * ratio))
    by_theta = torch.where(ratio < 0.02, series, ratio / (1.0 + ratio) - log1p)
    by_theta[rows, columns] = (
        digamma_ratio(x, theta_at) - torch.log1p(mu_at / theta_at) + (mu_at - x) / (theta_at + mu_at)
    ).to(by_theta.dtype)
    return log_prob, gradient, by_theta
