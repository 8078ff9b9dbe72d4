"""A model of two modalities: the product of their posteriors, what each view sees, and what is saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from sclatent.model import Batches, CountData, CountVAE, Further, only, refined, train_vae
from sclatent.model.batch import measured, random_view, seen
from sclatent.model.fused import compiles
from sclatent.model.objectives import OBJECTIVES
from sclatent.settings import ModelSettings
from sclatent.settings.kinds.parts import BernoulliSettings, PoissonSettings

N, GENES, PEAKS = 24, 12, 30
SMALL = ModelSettings(n_latent=3, n_hidden=8, epochs=2, batch_size=8)
FURTHER = {"atac": Further(PEAKS, BernoulliSettings())}


def data(seed: int = 0, *, partly: bool = False) -> CountData:
    rng = np.random.default_rng(seed)
    genes = sparse.csr_matrix(rng.poisson(1.5, (N, GENES)).astype(np.float32))
    peaks = sparse.csr_matrix((rng.random((N, PEAKS)) < 0.3).astype(np.float32))
    has_rna, has_peaks = np.ones(N, bool), np.ones(N, bool)
    if partly:
        has_rna[:6], has_peaks[12:] = False, False
        genes = sparse.csr_matrix(genes.multiply(has_rna[:, None]), dtype=np.float32)
        peaks = sparse.csr_matrix(peaks.multiply(has_peaks[:, None]), dtype=np.float32)
    sizes = [np.asarray(part.sum(1)).ravel() for part in (genes, peaks)]
    atac = CountData(peaks, sizes[1], measured=has_peaks)
    return CountData(genes, sizes[0], measured=has_rna, others={"atac": atac})


@pytest.fixture
def vae() -> CountVAE:
    return CountVAE(GENES, SMALL, further=FURTHER, seed=1).eval()


def test_the_joint_posterior_is_the_product_with_the_prior(vae):
    batch = Batches(data()).gather(np.arange(N))
    with torch.no_grad():
        precision, weighted = torch.ones(N, 3), torch.zeros(N, 3)
        for name, modality in vae.modalities.items():
            part = batch if name == "rna" else batch.others[name]
            mean, spread = modality.encoder(part, None).chunk(2, -1)
            sd = torch.nn.functional.softplus(spread + 0.5413) + 1e-4
            precision += 1 / sd**2
            weighted += mean / sd**2
        joint = vae.encode(batch)
    assert torch.allclose(joint.mean(), weighted / precision, atol=1e-6)
    assert torch.allclose(joint.sd(), precision.rsqrt(), atol=1e-6)


def test_an_absent_modality_leaves_the_other_and_none_leaves_the_prior(vae):
    batch = Batches(data(partly=True)).gather(np.arange(N))
    with torch.no_grad():
        joint, rna, atac = vae.encode(batch), vae.encode(only(batch, "rna")), vae.encode(only(batch, "atac"))
    for cells, alone, other in ((slice(0, 6), atac, rna), (slice(12, N), rna, atac)):
        assert torch.equal(joint.mean()[cells], alone.mean()[cells])
        assert torch.equal(other.mean()[cells], torch.zeros_like(other.mean()[cells]))
        assert torch.equal(other.sd()[cells], torch.ones_like(other.sd()[cells]))
    # two modalities know more than either
    assert (joint.sd()[6:12] < torch.minimum(rna.sd(), atac.sd())[6:12]).all()


def test_the_likelihood_is_the_sum_over_what_was_measured(vae):
    batch = Batches(data(partly=True)).gather(np.arange(N))
    code = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, rna, atac = (vae.log_prob(code, view) for view in (batch, only(batch, "rna"), only(batch, "atac")))
        rates = torch.softmax(vae.others["atac"].decoder(code, torch.zeros(N, 0)), 1).double().numpy()
    assert torch.allclose(whole, rna + atac, atol=1e-4)
    assert (rna[:6] == 0).all()
    assert (atac[12:] == 0).all()
    peaks = batch.others["atac"].dense().numpy()[:12]
    open_ = -np.expm1(-rates[:12] * peaks.sum(1, keepdims=True))
    assert np.allclose(atac[:12].numpy(), stats.bernoulli.logpmf(peaks, open_).sum(1), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.booleans())
def test_a_random_view_is_all_of_a_cell_or_one_modality(seed, partly):
    batch = Batches(data(partly=partly)).gather(np.arange(N))
    view = measured(random_view(batch, torch.Generator().manual_seed(seed)))
    before = measured(batch)
    n_before, n_seen = (sum(mask.int() for mask in masks.values()) for masks in (before, view))
    assert all(bool((before[name] | ~view[name]).all()) for name in before)
    assert ((n_seen == n_before) | (n_seen == 1)).all()


def test_views_come_as_often_as_they_should():
    batch = Batches(data()).gather(np.zeros(4000, np.int64))
    view = measured(random_view(batch, torch.Generator().manual_seed(0)))
    both = (view["rna"] & view["atac"]).float().mean()
    assert abs(float(both) - 0.5) < 0.03
    assert abs(float((view["rna"] & ~view["atac"]).float().mean()) - 0.25) < 0.03


def test_one_modality_has_one_view_and_draws_nothing():
    rna = CountData(data().counts, data().library)
    batch, generator = Batches(rna).gather(np.arange(N)), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert random_view(batch, generator) is batch
    assert torch.equal(generator.get_state(), before)


def test_some_cells_of_a_batch_are_those_cells():
    batches = Batches(data())
    some, whole = np.array([1, 4, 17]), batches.gather(np.arange(N))
    found, wanted = whole.some(torch.from_numpy(some)), batches.gather(some)
    for name in ("offsets", "rows", "columns", "values", "library", "total", "log_factorial"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name


def test_draws_of_a_batch_repeat_every_modality(vae):
    batch = Batches(data(partly=True)).gather(np.arange(N))
    code = torch.randn(3, N, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = vae.log_prob_of_draws(code, batch)
        apart = torch.stack([vae.log_prob(one, batch) for one in code])
    assert torch.allclose(together, apart, atol=1e-4)


def test_the_gradient_is_that_of_finite_differences(vae):
    batch = Batches(data(partly=True)).gather(np.arange(N))
    objective = OBJECTIVES["elbo"](SMALL.objective)
    weight = vae.others["atac"].decoder.weight.weight

    def loss() -> torch.Tensor:
        noise = torch.Generator().manual_seed(3)
        return objective.loss(vae, batch, noise, None, 1.0).cells.double().sum()

    loss().backward()
    at, step = (5, 1), 1e-2
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight[at] += sign * step
            values.append(float(loss()))
            weight[at] -= sign * step
    assert float(weight.grad[at]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-2, abs=2e-3)


def test_refined_posteriors_begin_at_the_product_and_none_is_worse(vae):
    batch = Batches(data(partly=True)).gather(np.arange(N))
    with torch.no_grad():
        product = vae.encode(batch)
        again = vae.latent.posterior(vae.latent.head(product))
    assert torch.allclose(again.mean(), product.mean())
    assert torch.allclose(again.sd(), product.sd(), rtol=1e-4)
    better = refined(vae, batch, 60, torch.Generator().manual_seed(0))
    with torch.no_grad():
        judge = torch.Generator().manual_seed(1)
        before, after = (vae.marginal(batch, 400, judge, posterior=one)[0] for one in (product, better))
    assert float((after - before).mean()) > 0.05
    assert float((after - before).min()) > -0.3  # the noise of the draws


def test_a_model_comes_back_as_it_was_saved(vae, tmp_path):
    vae.save(tmp_path)
    again = CountVAE.load(tmp_path)
    assert again.further == vae.further
    assert np.array_equal(again.posterior(data())[0], vae.posterior(data())[0])
    one = CountVAE(GENES, SMALL, seed=1)
    assert "further" not in one.architecture()


def test_training_goes_through_pytorch_and_gives_the_same_bytes_again():
    cells, validation = np.arange(18), np.arange(18, N)
    pair = [train_vae(data(partly=True), cells, validation, SMALL, further=FURTHER, seed=5) for _ in range(2)]
    for first, second in zip(*(vae.state_dict().values() for vae, _ in pair), strict=True):
        assert torch.equal(first, second)
    assert not compiles(pair[0][0], OBJECTIVES["elbo"](SMALL.objective))


def test_an_interrupted_training_goes_on(tmp_path):
    from sclatent.model.training.loop import Run

    options = {"n_levels": (), "rest": False, "further": FURTHER, "seed": 0, "device": "cpu"}
    whole, part = (Run(data(), np.arange(18), np.arange(18, N), SMALL, **options) for _ in range(2))
    whole.one_epoch()
    state = whole.state()
    whole.one_epoch()
    part.restore(state)
    part.one_epoch()
    assert torch.equal(whole.flat.values, part.flat.values)


def test_counts_of_another_modality_are_checked_too():
    wrong = data()
    wrong.others["atac"].counts.data[3] = -1
    with pytest.raises(Exception, match="negative or not finite"):
        train_vae(wrong, np.arange(18), np.arange(18, N), SMALL, further=FURTHER)
    with pytest.raises(ValueError, match="atac has 3 cells, counts have 24"):
        replace(data(), others={"atac": data().others["atac"].subset(np.arange(3))})


def test_a_poisson_of_fragments(vae):
    further = {"atac": Further(PEAKS, PoissonSettings())}
    model = CountVAE(GENES, SMALL, further=further, seed=1)
    batch = Batches(data()).gather(np.arange(N))
    with torch.no_grad():
        value = model.log_prob(torch.zeros(N, 3), only(batch, "atac"))
        rate = torch.softmax(model.others["atac"].decoder.bias, 0).double().numpy()
    peaks = batch.others["atac"].dense().numpy()
    assert np.allclose(value.numpy(), stats.poisson.logpmf(peaks, rate * peaks.sum(1, keepdims=True)).sum(1), rtol=1e-5)


def test_seen_masks_are_taken_as_they_are():
    batch = Batches(data()).gather(np.arange(N))
    masks = {name: torch.arange(N) % 2 == 0 for name in ("rna", "atac")}
    assert all(torch.equal(mask, masks[name]) for name, mask in measured(seen(batch, masks)).items())


def test_axes_are_turned_by_genes_and_as_many_peaks(vae):
    from sclatent.model.rotation import all_slopes, slopes

    mean, directions = vae.posterior(data())[0], np.eye(3)
    found = all_slopes(vae, data(), mean, directions)
    assert found.shape == (3, 2 * GENES)
    assert np.array_equal(found[:, :GENES], slopes(vae, data(), mean, directions))
    peaks = slopes(vae, data(), mean, directions, of="atac")
    assert peaks.shape == (3, PEAKS)
    assert np.sort((found[:, GENES:] ** 2).sum(0)) == pytest.approx(np.sort((peaks**2).sum(0))[-GENES:])
    one = CountVAE(GENES, SMALL, seed=1)
    assert np.array_equal(all_slopes(one, data(), mean, directions), slopes(one, data(), mean, directions))


def test_the_prior_of_the_decoder_is_that_of_students_t(vae):
    decoder = vae.others["atac"].decoder
    with torch.no_grad():
        decoder.weight.weight[0] = torch.tensor([0.0, 0.3, -4.0])
    weights = decoder.weight.weight.detach().double().numpy()
    prior = stats.t(3, scale=0.1)
    wanted = (prior.logpdf(0) - prior.logpdf(weights)).sum()
    assert float(decoder.penalty().detach()) == pytest.approx(wanted, rel=1e-5)


def test_the_encoder_of_peaks_is_narrow_and_no_narrower_than_the_axes():
    wide = {"n_hidden": 128}
    for n_axes, width in ((3, 32), (40, 40)):
        model = CountVAE(GENES, ModelSettings(n_latent=n_axes, **wide), further=FURTHER)
        assert model.encoder.first.weight.shape == (GENES, 128)
        assert model.others["atac"].encoder.first.weight.shape == (PEAKS, width)


def test_fewer_cells_are_scored_at_a_time_where_there_are_many_peaks():
    from sclatent.model.training.score import cells_at_once

    assert cells_at_once(CountVAE(50_000, SMALL)) == 512  # RNA as ever
    sizes = [
        cells_at_once(CountVAE(GENES, SMALL, further={"atac": FURTHER["atac"]._replace(n_features=n)}))
        for n in (30, 60_000)
    ]
    assert sizes == [512, 69]
