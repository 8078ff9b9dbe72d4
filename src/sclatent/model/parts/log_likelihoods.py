"""Exact log-likelihoods of sparse counts, constants included.

Rates are μ = l · softmax(a) over the genes (and one *rest* category, when the logits have a column more than the data
has genes). Gamma functions are evaluated at the non-zeros only. Poisson, negative binomial and Bernoulli carry
closed-form gradients, computed with the value in one pass; the other likelihoods use autograd.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sclatent.model.batch import Batch
from sclatent.model.kernels import likelihood_rows
from sclatent.model.kernels.threads import share
from sclatent.model.parts import formulas


def _compiled(logits: Tensor) -> bool:
    return logits.device.type == "cpu" and logits.dtype == torch.float32


def _kernel_arrays(batch: Batch, logits: Tensor, log_prob: Tensor) -> tuple[Any, ...]:
    """Return what the compiled kernels take after the rows: `logits` become the gradient to them."""
    counts = (batch.offsets.numpy(), batch.columns.numpy(), batch.values.numpy(), batch.total.numpy())
    return batch.n_genes, logits.numpy(), batch.library.numpy(), *counts, log_prob.numpy(), np.float32(1.0)


class _OfRates(torch.autograd.Function):
    """Log-likelihood per cell (B,) of what has rates and nothing else, with its closed-form gradient to the logits.

    `kernel` is the compiled pass, `formula` the same in plain PyTorch; `constant` (B,) is taken off what the pass
    finds.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, batch: Batch, kernel: Any, formula: Any, constant: Any) -> Tensor:
        if _compiled(logits):
            gradient = logits.clone(memory_format=torch.contiguous_format)
            log_prob = torch.empty(len(batch), dtype=torch.float64)
            arrays = _kernel_arrays(batch, gradient, log_prob)
            share(len(batch), lambda first, last: kernel(first, last, *arrays))
            log_prob -= constant
        else:
            log_prob, gradient = formula(logits, batch)
        ctx.save_for_backward(gradient)
        return log_prob.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0][:, None], None, None, None, None


class _NegativeBinomial(torch.autograd.Function):
    """Log-likelihood per cell (B,) with closed-form gradients to the logits and to θ ((1 | B) × genes)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, theta: Tensor, batch: Batch) -> Tensor:
        if _compiled(logits):
            gradient, theta = logits.clone(memory_format=torch.contiguous_format), theta.contiguous()
            log_prob = torch.empty(len(batch), dtype=torch.float64)
            by_theta = torch.empty(len(batch), batch.n_genes)
            arrays = _kernel_arrays(batch, gradient, log_prob)
            dispersion = (theta.numpy(), theta.reciprocal().numpy(), 1, by_theta.numpy())
            share(len(batch), lambda first, last: likelihood_rows.nb_rows(first, last, *arrays, *dispersion))
            log_prob -= batch.log_factorial
        else:
            log_prob, gradient, by_theta = formulas.negative_binomial(logits, theta, batch)
        ctx.save_for_backward(gradient, by_theta)
        ctx.one_theta = theta.shape[0] == 1
        return log_prob.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        gradient, by_theta = ctx.saved_tensors
        weight = grads[0][:, None]
        to_theta = None
        if ctx.needs_input_grad[1]:
            to_theta = weight.T @ by_theta if ctx.one_theta else weight * by_theta
        return gradient * weight, to_theta, None


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
    return _OfRates.apply(logits, batch, likelihood_rows.poisson_rows, formulas.poisson, batch.log_factorial)


def negative_binomial(logits: Tensor, theta: Tensor, batch: Batch) -> Tensor:
    """Negative binomial log-likelihood of each cell (B,), in nats; variance μ + μ²/θ.

    −Σ_g θ log1p(μ/θ) and, at the non-zeros, log Γ(x+θ) − log Γ(θ) − log x! + x (log μ − log(θ+μ)).

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
    """Log μ (B × genes), differentiable: log l + a − logsumexp(a).

    Parameters
    ----------
    logits
        a (B × genes, and a *rest* category last when there is one).
    batch
        The minibatch of B cells. Its library sizes are l.

    Returns
    -------
    Tensor
        (B × genes).
    """
    log_library = batch.library.clamp(min=formulas.TINY).log()[:, None]
    return torch.log_softmax(logits, 1)[:, : batch.n_genes] + log_library


def _log_rate_at(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log μ (B × genes) and, in float64, log μ at the non-zeros (N,)."""
    lse = torch.logsumexp(logits.double() if bool((batch.total > formulas.DEEP).any()) else logits, 1).double()
    shift = batch.library.double().clamp(min=formulas.TINY).log() - lse
    at = logits[batch.rows, batch.columns].double() + shift[batch.rows]
    return logits[:, : batch.n_genes] + shift[:, None].to(logits.dtype), at


def _inflated(base_zero: Tensor, base_nonzero: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Mix a point mass at 0 of probability sigmoid(gate) with a count distribution.

    `base_zero` (B × genes) is its log p(0), `base_nonzero` (N,) float64 its log p(x) at the non-zeros.
    """
    zero = torch.logaddexp(logsigmoid(gate), logsigmoid(-gate) + base_zero)
    at = (batch.rows, batch.columns)
    nonzero = base_nonzero + logsigmoid(-gate[at].double())
    at_zeros = zero.index_put(at, zero.new_zeros(()))
    return formulas.add_by_cell(at_zeros.sum(1, dtype=torch.float64), nonzero, batch) - batch.log_factorial


def zero_inflated_poisson(logits: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Zero-inflated Poisson log-likelihood of each cell (B,); `gate` (B × genes) is the logit of an extra zero."""
    log_mu, at = _log_rate_at(logits, batch)
    nonzero = batch.values.double() * at - at.exp()
    return _inflated(-log_mu.exp(), nonzero, gate, batch).to(logits.dtype)


def zero_inflated_nb(logits: Tensor, theta: Tensor, gate: Tensor, batch: Batch) -> Tensor:
    """Zero-inflated NB log-likelihood of each cell (B,); `gate` (B × genes) is the logit of an extra zero."""
    log_mu, at = _log_rate_at(logits, batch)
    theta_at = theta.expand(log_mu.shape)[batch.rows, batch.columns].double()
    nonzero = formulas.nb_log_pmf_nonzero(batch.values.double(), at, theta_at)
    zero = -theta * torch.log1p(log_mu.exp() / theta)
    return _inflated(zero, nonzero, gate, batch).to(logits.dtype)


def bernoulli(logits: Tensor, batch: Batch) -> Tensor:
    """Log-likelihood (B,) of whether each count is above 0, with P(x > 0) = 1 − exp(−μ).

    That is a Poisson count of which only its presence was recorded, so rates and traversals keep their meaning. With
    log p(0) = −μ it is Σ_{x>0} log(e^μ − 1) − Σ_g μ_g, where Σ_g μ_g = l (1 − ρ_rest): again the non-zeros and one
    softmax.
    """
    return _OfRates.apply(logits, batch, likelihood_rows.bernoulli_rows, formulas.bernoulli, 0.0)
