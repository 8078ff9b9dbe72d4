"""The trainer: one loop that can be read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sclatent.model.batches import Batches, CountData
from sclatent.model.vae import CountVAE
from sclatent.settings import InputError, ModelSettings


def train_vae(
    data: CountData,
    train: np.ndarray,
    validation: np.ndarray,
    settings: ModelSettings,
    *,
    n_levels: tuple[int, ...] = (),
    rest: bool = False,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    checkpoint: Path | None = None,
    progress: bool | Callable[[str], None] = False,
) -> tuple[CountVAE, pd.DataFrame]:
    """Train a model on the cells `train`; the cells `validation` say when to stop.

    Parameters
    ----------
    data
        Counts, library sizes and covariates of all cells.
    train, validation
        Positions of the cells.
    settings
        Likelihood, networks, training.
    n_levels
        Levels of each categorical covariate.
    rest
        Whether library sizes count more than the genes of `data`.
    seed
        Same seed, device, versions and thread count: same bytes.
    device
        ``cpu`` or ``cuda``.
    threads
        CPU threads of the arithmetic.

    Returns
    -------
    The model with the weights of the best validation ELBO, and one row per epoch: ``epoch``, ``train_elbo``,
    ``validation_elbo``, ``kl`` (nats per cell), ``kl_weight``, ``learning_rate``.
    """
    torch.set_num_threads(threads)
    train, validation = np.asarray(train), np.asarray(validation)
    n_continuous = 0 if data.continuous is None else data.continuous.shape[1]
    vae = CountVAE(
        data.n_genes, settings, n_levels=n_levels, n_continuous=n_continuous, rest=rest, seed=seed
    ).to(device)
    batches = Batches(data, device)
    start_from_data(vae, data, train)

    size = batch_size(settings, len(train))
    steps_per_epoch = math.ceil(len(train) / size)
    epochs = n_epochs(settings, len(train))
    steps = epochs * steps_per_epoch
    warmup = max(1, steps // 5)
    optimizer = torch.optim.AdamW(parameter_groups(vae, settings), lr=settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )
    order = np.random.default_rng(seed)
    noise = torch.Generator(device=device).manual_seed(seed)

    history = []
    best, best_state, since = -math.inf, None, 0
    step = 0
    for epoch in range(epochs):
        vae.train()
        shuffled = order.permutation(train)
        sums = np.zeros(2)
        for at in range(0, len(train), size):
            weight = min(1.0, (step + 1) / warmup)
            batch = batches.gather(shuffled[at : at + size])
            log_prob, kl = vae.elbo_terms(batch, noise, noise)
            loss = (weight * kl - log_prob).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 100.0)
            optimizer.step()
            schedule.step()
            step += 1
            sums += [float(log_prob.detach().sum()), float(kl.detach().sum())]
            if not np.isfinite(sums).all():
                raise InputError("training: the loss is not finite: check the counts")
        vae.eval()
        score = validation_elbo(vae, batches, validation, seed)
        log_prob_mean, kl_mean = sums / len(train)
        history.append(
            {
                "epoch": epoch + 1,
                "train_elbo": log_prob_mean - kl_mean,
                "validation_elbo": score,
                "kl": kl_mean,
                "kl_weight": weight,
                "learning_rate": schedule.get_last_lr()[0],
            }
        )
        if score > best:
            best, since = score, 0
            best_state = {name: value.detach().clone() for name, value in vae.state_dict().items()}
        elif weight >= 1.0:
            since += 1
            if since >= settings.patience:
                break
    if best_state is not None:
        vae.load_state_dict(best_state)
    return vae.to("cpu").eval(), pd.DataFrame(history)


def batch_size(settings: ModelSettings, n: int) -> int:
    """Cells per step: small for few cells, so that there are enough steps."""
    if settings.batch_size != "auto":
        return int(settings.batch_size)
    return int(np.clip(2 ** round(math.log2(max(n, 1) / 20)), 64, 512))


def n_epochs(settings: ModelSettings, n: int) -> int:
    """Most passes through the cells: a budget of steps rather than of epochs."""
    if settings.epochs != "auto":
        return int(settings.epochs)
    return int(np.clip(round(60 * math.sqrt(2000 / max(n, 1))), 8, 100))


def parameter_groups(vae: CountVAE, settings: ModelSettings) -> list[dict]:
    """Weight matrices decay, everything else does not."""
    decays, rest = [], []
    for name, parameter in vae.named_parameters():
        (decays if name.endswith("weight") and parameter.ndim == 2 else rest).append(parameter)
    return [{"params": decays, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]


@torch.no_grad()
def start_from_data(vae: CountVAE, data: CountData, train: np.ndarray) -> None:
    """Start the gene biases at the log mean fractions of the training cells, and centre the covariate levels."""
    counts = data.counts[train]
    genes = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    library = float(np.asarray(data.library, dtype=np.float64)[train].sum())
    # half a count more, so that a gene without counts starts rare instead of impossible
    fraction = (genes + 0.5) / max(library, 1.0)
    if vae.rest:
        fraction = np.append(fraction, max(library - genes.sum(), 0.5) / max(library, 1.0))
    vae.decoder.bias.copy_(torch.from_numpy(np.log(fraction)))
    if data.categorical is not None:
        start = 0
        for column, n in enumerate(vae.n_levels):
            codes = data.categorical[train, column]
            frequency = np.bincount(codes[codes >= 0], minlength=n) / max((codes >= 0).sum(), 1)
            vae.level_frequency[start : start + n] = torch.from_numpy(frequency)
            start += n


@torch.no_grad()
def validation_elbo(vae: CountVAE, batches: Batches, index: np.ndarray, seed: int, size: int = 512) -> float:
    """Mean ELBO at KL weight 1, with the same draws at every call."""
    noise = torch.Generator(device=vae.device).manual_seed(seed)
    total = 0.0
    for batch in batches.stream(index, size):
        log_prob, kl = vae.elbo_terms(batch, noise)
        total += float((log_prob.double() - kl).sum())
    return total / max(len(index), 1)
