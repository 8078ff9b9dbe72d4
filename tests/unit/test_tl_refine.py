"""Refined posteriors: nearer to the exact one, and never worse beyond noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import sclatent as sl
from sclatent.model import Batches, CountData, CountVAE, refined
from sclatent.settings import InputError, ModelSettings


@pytest.fixture(scope="module")
def world():  # type: ignore[no-untyped-def]
    from sclatent.settings import DatasetSettings

    small = {"n_latent": 4, "n_hidden": 16, "epochs": 60, "refit": False}
    kinds = ("gaussian", "gamma", "logistic-normal", "point", "states")
    settings = DatasetSettings.model_validate(
        {"name": "t", "file": "t.yaml", "counts": "-", "models": {kind: small | {"latent": kind} for kind in kinds}}
    )
    prepared = sl.pp.prepare(sl.data.simulate(250, 100, median_library=20_000, seed=1), **settings.parts(sl.pp.prepare))
    return prepared, {
        kind: sl.tl.train(prepared, model=settings.models[kind], **settings.parts(sl.tl.train)) for kind in kinds
    }


@pytest.mark.parametrize("kind", ["gaussian", "gamma", "logistic-normal"])
def test_the_marginal_never_falls(world, kind: str) -> None:  # type: ignore[no-untyped-def]
    prepared, trained = world
    metrics = sl.tl.evaluate(prepared, trained[kind], samples=30, refine=40)
    found = metrics["refined"]
    assert found["gain"] > -3 * found["gain_se"]
    assert found["elbo"] > metrics["test"]["elbo"]
    assert found["elbo"] <= found["marginal"]
    assert "refined" not in sl.tl.evaluate(prepared, trained[kind], samples=2)
    latent = sl.tl.refine(prepared, trained[kind], steps=3)
    before = sl.tl.embed(prepared, trained[kind])
    assert latent.shape == before.shape
    assert latent.obs.equals(before.obs)
    assert not np.array_equal(latent.X, before.X)
    assert np.array_equal(latent.X, sl.tl.refine(prepared, trained[kind], steps=3).X)


def test_it_finds_the_exact_posterior_of_an_untrained_encoder() -> None:
    """One axis, two genes: the posterior by quadrature."""
    rng = np.random.default_rng(0)
    counts = rng.poisson([[30, 10], [10, 30], [20, 20]]).astype(np.float32)
    data = CountData(csr_matrix(counts), counts.sum(1))
    vae = CountVAE(2, ModelSettings(likelihood="poisson", decoder="linear", n_latent=1, n_hidden=4))
    with torch.no_grad():
        vae.decoder.weight.weight.copy_(torch.tensor([[0.5], [-0.5]]))
    batch = Batches(data).gather(np.arange(3))
    grid = torch.linspace(-6, 6, 2001)
    with torch.no_grad():
        log_p = torch.stack([vae.log_prob(z.expand(3, 1), batch) - 0.5 * z * z for z in grid])
    weight = torch.softmax(log_p, 0)
    mean = (weight * grid[:, None]).sum(0)
    sd = (weight * (grid[:, None] - mean) ** 2).sum(0).sqrt()
    q = refined(vae, batch, 300, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(q.mean()[:, 0].detach(), mean, atol=0.06)
    np.testing.assert_allclose(q.sd()[:, 0].detach(), sd, rtol=0.2)
    assert all(p.grad is None for p in vae.parameters())


@pytest.mark.parametrize("kind", ["point", "states"])
def test_what_cannot_be_refined(world, kind: str) -> None:  # type: ignore[no-untyped-def]
    prepared, trained = world
    with pytest.raises(InputError, match=f"refine: latent: {kind} has no posterior that small steps could improve"):
        sl.tl.refine(prepared, trained[kind])
    with pytest.raises(InputError, match="needs 1 step or more, found -1"):
        sl.tl.evaluate(prepared, trained["gaussian"], samples=2, refine=-1)
