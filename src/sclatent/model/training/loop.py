"""The state of a training, its step, and the retry after a divergence."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sclatent.model.batch import random_view
from sclatent.model.data import Batches, CountData
from sclatent.model.distributed.ranks import Ranks
from sclatent.model.fused import CompiledStep, Counts, compiles, prepare
from sclatent.model.kernels.threads import ahead, only_shared
from sclatent.model.objectives import OBJECTIVES
from sclatent.model.parts.modality import Further
from sclatent.model.training.diagnose import Diverged, explain
from sclatent.model.training.initialise import parameter_groups, start_from_data
from sclatent.model.training.memory import make_room
from sclatent.model.training.optimizer import AdamW
from sclatent.model.training.round import start_on_circle
from sclatent.model.training.schedule import Schedule, decay
from sclatent.model.training.score import score_cells, typical
from sclatent.model.training.weights import FlatWeights, add_to_average
from sclatent.model.vae import CountVAE
from sclatent.settings import ModelSettings

log = logging.getLogger("sclatent")

CLIP = 100.0
"""Largest norm of the gradient of the mean loss (nats per cell)."""


class Run:
    """A training under way: everything that changes from step to step, and the step itself.

    It begins with the weights of `start`, if there is one, and follows `schedule`, by default that of a whole training.
    Without validation cells nothing stops it early, and the last weights are the best. Of several processes (`ranks`)
    every one has such a run, with the same weights; each looks at its cells of every step, and gradients are added up.
    """

    def __init__(
        self,
        data: CountData,
        train: np.ndarray,
        validation: np.ndarray,
        settings: ModelSettings,
        *,
        n_levels: tuple[int, ...],
        rest: bool,
        further: Mapping[str, Further] | None = None,
        seed: int,
        device: str,
        start: CountVAE | None = None,
        schedule: Schedule | None = None,
        angle: np.ndarray | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        settings = settings.with_axes(len(train), data.n_genes)
        self.ranks = ranks or Ranks()
        self.train, self.validation, self.settings, self.seed = train, validation, settings, seed
        n_continuous = 0 if data.continuous is None else data.continuous.shape[1]
        shape: dict[str, Any] = {"n_levels": n_levels, "n_continuous": n_continuous, "rest": rest, "further": further}
        vae = CountVAE(data.n_genes, settings, **shape, seed=seed)
        if start is None:
            start_from_data(vae, data, train)
            if angle is not None:
                start_on_circle(vae, data, train, angle)
        else:
            vae.load_state_dict(start.state_dict())
        self.vae = vae.to(device)
        self.batches, self.schedule = Batches(data, device), schedule or Schedule.make(settings, len(train))
        groups = parameter_groups(self.vae, decay(settings, len(train)))
        self.flat = FlatWeights([group.pop("params") for group in groups])
        self.optimizer = AdamW(self.flat, groups, CLIP)
        self.objective = OBJECTIVES[settings.objective.kind](settings.objective)
        self.compiled = compiles(self.vae, self.objective)
        self.compiled_steps: dict[int, CompiledStep] = {}
        if self.compiled:
            self.flat.connect()
        self.average = self.flat.values.clone()
        self.order = np.random.default_rng(seed)
        self.noise = torch.Generator(device=device).manual_seed(seed)
        self.epoch = self.step = self.since = self.restarts = 0
        self.pieces, self.stopped, self.best = 1, False, -math.inf
        self.history: list[dict[str, float]] = []
        self.best_weights = self.average.clone()
        self.good = self.state()

    @property
    def finished(self) -> bool:
        """Whether the schedule is through, or the validation score has not improved for long enough."""
        return self.stopped or self.epoch >= self.schedule.epochs

    def one_epoch(self) -> None:
        """Train on every cell once, then ask the validation cells."""
        try:
            with only_shared() if self.compiled else nullcontext():
                fit, kl = self._pass()
            cells = self._validate()
        except Diverged as trouble:
            self._restart(trouble)
            return
        self.epoch += 1
        score = typical(cells) if len(cells) else float(self.epoch)
        self.history.append(
            {
                "epoch": self.epoch,
                "train_elbo": fit - kl,
                "validation_elbo": float(cells.mean()) if len(cells) else fit - kl,
                "kl": kl,
                "kl_weight": self.schedule.kl_weight(self.step - 1),
                "learning_rate": self._learning_rate(),
            }
        )
        # before the KL has its full weight a good score means nothing
        if self.step >= self.schedule.warmup:
            if score > self.best:
                self.best, self.since, self.best_weights = score, 0, self.average.clone()
            else:
                self.since += 1
                # while the learning rate is high, one outlying validation cell can hide progress for many epochs
                late = 2 * self.epoch >= self.schedule.epochs
                self.stopped = late and self.since >= self.settings.patience
        self.good = self.state()

    def _pass(self) -> tuple[float, float]:
        """One epoch of steps; return the mean fit and KL of the training cells."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.batches.device)
        minibatches = self.schedule.minibatches(self.batches.source.order(self.order, self.train))
        gathered = ahead(partial(prepare, self.vae, self.batches), minibatches) if self.compiled else repeat(None)
        for cells, counts in zip(minibatches, gathered, strict=False):
            sums += self._step(cells, counts)
            if self.batches.device.type == "cpu" and not math.isfinite(float(sums.sum())):
                raise Diverged(cells)
        if not bool(torch.isfinite(sums).all()):
            raise Diverged(self.train)
        fit, kl = (sums / len(self.train)).tolist()
        if self.history and fit < 3.0 * min(self.history[0]["train_elbo"], -1.0):
            raise Diverged(self.train, "the loss runs away")
        return fit, kl

    def _step(self, cells: np.ndarray, counts: Counts | None = None) -> Tensor:
        """One step of the optimiser; return the sums of fit and KL over its cells."""
        self.vae.progress = self.schedule.progress(self.step)
        if self.compiled:
            sums = self._compiled_step(prepare(self.vae, self.batches, cells) if counts is None else counts)
        else:
            self.flat.forget()
            sums = self._backward(cells)
            self.flat.collect()
            self.ranks.add(self.flat.gradient, sums)
            self.optimizer.step(self._learning_rate())
        self.step += 1
        add_to_average(self.average, self.flat.values, self.step)
        return sums

    def _backward(self, cells: np.ndarray) -> Tensor:
        """Leave the gradient of the mean loss in the parameters, gathering fewer cells at a time if memory is short.

        Of several processes each leaves what its own cells add to it.
        """
        weight, mine, n = self.schedule.kl_weight(self.step), self.ranks.part(len(cells)), len(cells)
        start = self.noise.get_state()
        while True:
            sums = torch.zeros(2, dtype=torch.float64, device=self.batches.device)
            try:
                for piece in mine.pieces(self.pieces):
                    with self.ranks.looking_at(piece, self.noise, start):
                        batch = random_view(self.batches.gather(cells[piece.first : piece.last]), self.noise)
                        loss = self.objective.loss(self.vae, batch, self.noise, self.noise, weight)
                    loss.cells.backward(torch.full_like(loss.cells, 1.0 / n))
                    sums += loss.sums()
                for modality in self.vae.modalities.values() if self.ranks.rank == 0 else ():
                    if (penalty := modality.decoder.penalty()) is not None:
                        (penalty / len(self.train)).backward()
                return sums
            except torch.OutOfMemoryError:
                self.pieces = make_room(self.batches, self.pieces, mine.size)
                self.flat.forget()
                self.noise.set_state(start)

    def _compiled_step(self, counts: Counts) -> Tensor:
        """Do `_backward` and the optimiser's step without autograd."""
        n = len(counts.library)
        if n not in self.compiled_steps:  # the steps of an epoch differ by one cell at most
            self.compiled_steps[n] = CompiledStep(self.vae, self.flat, n)
        mover = self.optimizer.mover(self._learning_rate())
        return self.compiled_steps[n](counts, self.noise, self.schedule.kl_weight(self.step), mover)

    def _validate(self) -> np.ndarray:
        """Score of each validation cell, always with the same draws, float64."""
        self.exchange()
        while True:
            asked = (self.vae, self.objective, self.batches, self.validation, self.seed)
            try:
                score = score_cells(*asked, ranks=self.ranks, pieces=self.pieces)
                break
            except torch.OutOfMemoryError:
                self.pieces = make_room(self.batches, self.pieces, self.schedule.batch_size)
        self.exchange()
        if not np.isfinite(score).all():
            raise Diverged(self.validation)
        return score

    def _learning_rate(self) -> float:
        return self.schedule.learning_rate(self.step) * 0.25**self.restarts

    def _restart(self, trouble: Diverged) -> None:
        """Go back to the last good epoch at a quarter of the learning rate; give up the second time."""
        if self.restarts:
            self.restore(self.good)  # with weights that are NaN every cell would look wrong
            raise explain(self.vae, self.objective, self.batches, trouble.cells)
        self.restore(self.good)
        self.restarts = 1
        log.warning(
            "%s in epoch %d: back to the epoch before, at a quarter of the learning rate", trouble, self.epoch + 1
        )

    # --- state ------------------------------------------------------------------------------------------------------

    def exchange(self) -> None:
        """Swap the weights of the model and their average."""
        weights = self.flat.values.clone()
        self.flat.values.copy_(self.average)
        self.average = weights

    def state(self) -> dict[str, Any]:
        """Return everything that decides how the training goes on, as tensors, numbers and strings."""
        return {
            "weights": self.flat.values.clone(),
            "average": self.average.clone(),
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state(),
            "order": json.dumps(self.order.bit_generator.state),
            "noise": self.noise.get_state(),
            "history": json.dumps(self.history),
            "numbers": [self.epoch, self.step, self.since, self.restarts, self.pieces, int(self.stopped)],
            "best": self.best,
            "objective": json.dumps(self.objective.state()),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Take up the training where `state` was taken."""
        self.flat.values.copy_(state["weights"])
        self.average.copy_(state["average"])
        self.best_weights = state["best_weights"].to(self.vae.device)
        self.optimizer.restore(state["optimizer"])
        self.order.bit_generator.state = json.loads(state["order"])
        self.noise.set_state(state["noise"])
        self.history = json.loads(state["history"])
        self.epoch, self.step, self.since, self.restarts, self.pieces, stopped = state["numbers"]
        self.stopped, self.best = bool(stopped), state["best"]
        self.objective.restore(json.loads(state["objective"]))
        self.good = self.state()

    @torch.no_grad()
    def best_model(self) -> CountVAE:
        """Return the model with its best weights, on the CPU."""
        self.flat.release(self.best_weights if math.isfinite(self.best) else self.average)
        self.vae.progress = 1.0
        return self.vae.to("cpu").eval()
