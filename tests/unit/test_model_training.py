"""The trainer: schedule, determinism, resume, bad luck; on small simulated counts with a known generating process."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.stats import nbinom

from sclatent.model import CountData, CountVAE, train_vae
from sclatent.model.data import Batches
from sclatent.model.objective import PathwiseELBO
from sclatent.model.training import checkpoint, loop, trainer
from sclatent.model.training.diagnose import Diverged, explain
from sclatent.model.training.schedule import Schedule
from sclatent.settings import InputError, ModelSettings

GENES = 40


def simulate(n: int = 300, seed: int = 0, genes: int = GENES) -> tuple[CountData, np.ndarray]:
    """Counts of two kinds of cells under an NB with θ = 4; also the true log-likelihood of each cell."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=n)
    logits = np.random.default_rng(99).normal(0, 1, (2, genes))
    fraction = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mu = rng.lognormal(np.log(300), 0.3, n)[:, None] * fraction[kind]
    counts = rng.poisson(mu * rng.gamma(4.0, 1 / 4.0, mu.shape))
    truth = nbinom.logpmf(counts, 4.0, 4.0 / (4.0 + mu)).sum(1)
    data = CountData(csr_matrix(counts.astype(np.float32)), counts.sum(1).astype(float))
    return data, truth


def split(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n // 5, n), np.arange(n // 5)


def same_weights(a: CountVAE, b: CountVAE) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_reaches_the_likelihood_of_the_truth(device: str) -> None:
    data, truth = simulate(1500)
    train, validation = split(1500)
    settings = ModelSettings(n_latent=4, n_hidden=32, epochs=40)
    vae, _ = train_vae(data, train, validation, settings, seed=0, device=device)
    batch = Batches(data).gather(validation)
    with torch.no_grad():
        elbo, marginal = vae.marginal(batch, 50, torch.Generator().manual_seed(0))
    # the truth knows the type (log 2 nats) and the exact library size; a model that learnt nothing is 20 nats below
    assert marginal.mean() > truth[validation].mean() - 2.5
    assert (marginal >= elbo - 1e-6).all()


def test_marginal_of_a_linear_gaussian_model_is_exact() -> None:
    """With a decoder that ignores z, p(x) is p(x | z) whatever the posterior: the importance weights average to it."""
    data, _ = simulate(20)
    vae = CountVAE(GENES, ModelSettings(n_latent=2, n_hidden=8, decoder="linear"))
    torch.nn.init.zeros_(vae.decoder.weight.weight)
    torch.nn.init.normal_(vae.encoder.head.weight, 0, 0.05, generator=torch.Generator().manual_seed(1))
    batch = Batches(data).gather(np.arange(20))
    with torch.no_grad():
        expected = vae.log_prob(torch.zeros(20, 2), batch)
        _, marginal = vae.marginal(batch, 4000, torch.Generator().manual_seed(0), chunk=500)
    np.testing.assert_allclose(marginal.numpy(), expected.numpy(), atol=0.15)


@pytest.mark.parametrize("n", [5, 64, 65, 129, 1000, 50_000, 1_000_000])
@pytest.mark.parametrize("likelihood", ["nb", "poisson"])
def test_kl_weight_reaches_one_well_before_the_end(n: int, likelihood: str) -> None:
    schedule = Schedule.make(ModelSettings(likelihood=likelihood), n)
    assert schedule.kl_weight(0) <= 1
    assert schedule.kl_weight(schedule.steps // 4) == 1
    sizes = [len(m) for m in schedule.minibatches(np.arange(n))]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= schedule.batch_size
    rates = [schedule.learning_rate(s) for s in range(0, schedule.steps, max(1, schedule.steps // 200))]
    assert min(rates) > 0
    assert max(rates) <= schedule.peak
    assert schedule.learning_rate(schedule.steps - 1) < schedule.peak / 50 or schedule.steps < 20


@pytest.mark.parametrize("n", [6, 41, 81, 82])
def test_any_number_of_cells(n: int, device: str) -> None:
    data, _ = simulate(n)
    train, validation = split(n)
    settings = ModelSettings(n_latent=2, n_hidden=8, epochs=2, batch_size=16)
    _, history = train_vae(data, train, validation, settings, device=device)
    assert np.isfinite(history["validation_elbo"]).all()


def test_no_validation_cells_and_one_cell(device: str) -> None:
    data, _ = simulate(1)
    settings = ModelSettings(n_latent=1, n_hidden=4, epochs=2)
    _, history = train_vae(data, np.arange(1), np.arange(0), settings, device=device)
    assert np.isfinite(history["train_elbo"]).all()


@pytest.mark.parametrize("likelihood", ["nb", "poisson", "zinb", "bernoulli"])
def test_same_seed_same_bytes_and_global_generators_untouched(likelihood: str, device: str) -> None:
    data, _ = simulate()
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=3, likelihood=likelihood)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a, history = train_vae(data, *split(300), settings, seed=1, device=device)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.manual_seed(6)
    b, again = train_vae(data, *split(300), settings, seed=1, device=device)
    c, _ = train_vae(data, *split(300), settings, seed=2, device=device)
    assert same_weights(a, b)
    assert history.equals(again)
    assert not same_weights(a, c)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("killed_after", [1, 4])
def test_resume_ends_at_the_same_bytes(
    killed_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    data, _ = simulate()
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=8)
    whole, history = train_vae(data, *split(300), settings, seed=0, device=device)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)
    file = tmp_path / "deep" / "checkpoint.pt"
    write = checkpoint.write
    calls = []

    def write_then_die(path: Path, state: dict) -> None:
        write(path, state)
        calls.append(path)
        if len(calls) == killed_after:
            raise Killed

    with monkeypatch.context() as m:
        m.setattr(checkpoint, "write", write_then_die)
        with pytest.raises(Killed):
            train_vae(data, *split(300), settings, seed=0, device=device, checkpoint=file)
    assert file.exists()
    epochs = []
    one_epoch = loop.Run.one_epoch
    monkeypatch.setattr(loop.Run, "one_epoch", lambda self: (epochs.append(1), one_epoch(self))[1])
    resumed, again = train_vae(data, *split(300), settings, seed=0, device=device, checkpoint=file)
    assert len(epochs) == len(history) - killed_after
    assert same_weights(whole, resumed)
    assert history.equals(again)
    assert not file.exists()


def test_checkpoint_of_another_training_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, _ = simulate()
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=2)
    expected, _ = train_vae(data, *split(300), settings, seed=0)
    for content in (b"not a checkpoint", None):
        file = tmp_path / "checkpoint.pt"
        if content is None:
            checkpoint.write(file, {"key": "of another"})
        else:
            file.write_bytes(content)
        with caplog.at_level(logging.WARNING, logger="sclatent"):
            ours, _ = train_vae(data, *split(300), settings, seed=0, checkpoint=file)
        assert "from the beginning" in caplog.text
        caplog.clear()
        assert same_weights(ours, expected)


def test_key_changes_with_every_ingredient() -> None:
    data, _ = simulate(50)
    other = CountData(data.counts.copy(), data.library)
    other.counts.data[3] += 1
    index = np.arange(10)
    keys = {
        checkpoint.key_of(data, index, "settings", 0),
        checkpoint.key_of(other, index, "settings", 0),
        checkpoint.key_of(data, index[:9], "settings", 0),
        checkpoint.key_of(data, index, "setting", 0),
        checkpoint.key_of(data, index, "settings", 1),
    }
    assert len(keys) == 5
    assert checkpoint.key_of(data, index, "settings", 0) in keys


def test_divergence_restarts_once_then_stops_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, device: str
) -> None:
    data, _ = simulate()
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=4, decoder="linear")  # trains through autograd
    terms = PathwiseELBO.terms
    broken = {"times": 1, "at": 12}
    count = [0]

    def sometimes_nan(self, model, batch, noise, masks):
        log_prob, kl = terms(self, model, batch, noise, masks)
        count[0] += masks is not None
        if masks is not None and broken["times"] > 0 and count[0] >= broken["at"]:
            broken["times"] -= 1
            return log_prob * float("nan"), kl
        return log_prob, kl

    monkeypatch.setattr(PathwiseELBO, "terms", sometimes_nan)
    with caplog.at_level(logging.WARNING, logger="sclatent"):
        vae, history = train_vae(data, *split(300), settings, device=device)
    assert "quarter of the learning rate" in caplog.text
    assert list(history["epoch"]) == [1, 2, 3, 4]
    assert all(torch.isfinite(p).all() for p in vae.parameters())
    broken["times"] = 10
    with pytest.raises(Diverged) as caught:
        train_vae(data, *split(300), settings, device=device)
    line = str(caught.value)
    assert "\n" not in line
    assert "cell" in line
    assert "gene" in line
    named = str(caught.value.named([f"AAAC-{i}" for i in range(300)], [f"GENE{i}" for i in range(GENES)]))
    assert "'AAAC-" in named
    assert "'GENE" in named


def test_divergence_names_the_cell_and_the_gene(device: str) -> None:
    data, _ = simulate(5000)
    counts = data.counts.copy()
    counts.data[counts.indptr[4800] + 3] = 3e38  # a float32 still, and far above what the library size says
    data = CountData(counts, data.library)
    train = np.arange(5000)
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=2, likelihood="poisson", decoder="linear")
    gene = counts.indices[counts.indptr[4800] + 3]
    with pytest.raises(Diverged, match=rf"in 1 cell\(s\) \(no. 4800\).*\(cell no. 4800, gene no. {gene}\)"):
        train_vae(data, train, np.arange(0), settings, device=device)
    # as on a GPU, which is asked once an epoch: any of the training cells may be the one
    vae = CountVAE(GENES, settings)
    assert list(explain(vae, PathwiseELBO(settings.objective), Batches(data), train).cells) == [4800]


def test_an_enormous_learning_rate_ends_in_one_line_or_a_finite_model() -> None:
    data, _ = simulate()
    settings = ModelSettings(n_latent=3, n_hidden=16, epochs=5, learning_rate=1.0)

    def outcome() -> str:
        try:
            vae, _ = train_vae(data, *split(300), settings)
        except InputError as error:
            return str(error)
        return "finite" if all(torch.isfinite(p).all() for p in vae.parameters()) else "not finite"

    found = outcome()
    assert found == "finite" or "learning_rate" in found


def test_short_memory_gathers_fewer_cells_then_gives_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, device: str
) -> None:
    data, _ = simulate()
    settings = ModelSettings(
        n_latent=3, n_hidden=16, epochs=2, dropout=0, decoder="linear"
    )  # as a GPU does, by autograd
    gather = Batches.gather
    limit = [20]

    def small(self, index):
        if len(index) > limit[0] and len(index) < 240 and limit[0]:
            raise torch.OutOfMemoryError("no memory")
        return gather(self, index)

    monkeypatch.setattr(Batches, "gather", small)
    with caplog.at_level(logging.WARNING, logger="sclatent"):
        train_vae(data, *split(300), settings.model_copy(update={"batch_size": 60}), device=device)
    assert "gathered 15 at a time" in caplog.text
    monkeypatch.setattr(Batches, "gather", lambda self, index: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(torch.OutOfMemoryError):
        train_vae(data, *split(300), settings, device=device)


def test_counts_that_are_no_counts() -> None:
    data, _ = simulate(30)
    for value, what in ((np.nan, "not finite"), (-1.0, "negative"), (np.inf, "not finite")):
        bad = CountData(data.counts.copy(), data.library)
        bad.counts.data[5] = value
        with pytest.raises(InputError, match=what):
            train_vae(bad, *split(30), ModelSettings())
    with pytest.raises(InputError, match="no training cells"):
        train_vae(data, np.arange(0), np.arange(3), ModelSettings())


def test_gene_without_counts_in_training_cells_and_unknown_level(device: str) -> None:
    data, _ = simulate(100)
    counts = data.counts.tolil()
    counts[20:, 7] = 0
    counts[:20, 7] = 3
    codes = np.zeros((100, 1), np.int64)
    codes[50:] = 1
    codes[:20] = -1  # a level that only held-out cells have
    data = CountData(csr_matrix(counts, dtype=np.float32), np.asarray(counts.sum(1)).ravel(), codes)
    for dispersion in ("gene", "gene-batch", "gene-cell"):
        settings = ModelSettings(n_latent=2, n_hidden=8, epochs=3, dispersion=dispersion)
        vae, history = train_vae(data, np.arange(20, 100), np.arange(20), settings, n_levels=(2,), device=device)
        assert np.isfinite(history["validation_elbo"]).all()
        mean, _ = vae.posterior(data)
        fraction = np.exp(vae.log_fraction(mean, codes))
        np.testing.assert_allclose(fraction.sum(1), 1, rtol=1e-5)
        assert fraction[:, 7].max() < 0.02


def test_sparse_first_layer_equals_the_dense_product() -> None:
    data, _ = simulate(30)
    layer = CountVAE(GENES, ModelSettings(n_hidden=8)).encoder.first
    batch = Batches(data).gather(np.arange(30))
    upstream = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    out = layer(batch)
    out.backward(upstream)
    found = [out.detach(), layer.weight.grad.clone(), layer.bias.grad.clone()]
    layer.zero_grad()
    dense = torch.log1p(batch.dense()) @ layer.weight + layer.bias
    dense.backward(upstream)
    for a, b in zip(found, [dense.detach(), layer.weight.grad, layer.bias.grad], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_batches_gather_the_rows(index: type, device: str) -> None:
    data, _ = simulate(60)
    counts = data.counts.copy()
    counts.indices, counts.indptr = counts.indices.astype(index), counts.indptr.astype(index)
    batches = Batches(CountData(counts, data.library), device)
    rows = np.array([3, 3, 59, 0])
    batch = batches.gather(rows)
    assert np.array_equal(batch.dense().cpu().numpy(), data.counts[rows].toarray())
    assert np.array_equal(batch.repeat(3).dense().cpu().numpy(), np.tile(data.counts[rows].toarray(), (3, 1)))
    assert np.array_equal(batch.repeat(3).offsets.cpu().numpy()[-1], 3 * len(batch.values))
    assert batch.offsets.dtype == torch.int64
    np.testing.assert_allclose(batch.total.cpu().numpy(), data.library[rows])


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "zip", "poisson", "bernoulli"])
@pytest.mark.parametrize("decoder", ["mlp", "linear"])
def test_save_load(likelihood: str, decoder: str, tmp_path: Path) -> None:
    data, _ = simulate(60)
    settings = ModelSettings(n_latent=3, n_hidden=8, epochs=2, likelihood=likelihood, decoder=decoder)
    vae, _ = train_vae(data, *split(60), settings)
    vae.save(tmp_path, {"note": "kept"})
    again = CountVAE.load(tmp_path)
    assert same_weights(vae, again)
    for a, b in zip(vae.posterior(data), again.posterior(data), strict=True):
        assert np.array_equal(a, b)
    assert json.loads((tmp_path / "model.json").read_text())["note"] == "kept"
    drawn = again.sample(vae.posterior(data)[0], data.library, seed=1)
    assert drawn.shape == (60, GENES)
    assert (drawn >= 0).all()


def test_broken_model_files(tmp_path: Path) -> None:
    data, _ = simulate(60)
    vae, _ = train_vae(data, *split(60), ModelSettings(n_latent=2, n_hidden=8, epochs=1))
    with pytest.raises(InputError, match="no such file"):
        CountVAE.load(tmp_path)
    vae.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(InputError, match="train the model again"):
        CountVAE.load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json"):
        CountVAE.load(tmp_path)


def test_sampled_counts_have_the_moments_of_the_model() -> None:
    vae = CountVAE(3, ModelSettings(n_latent=1, n_hidden=4))
    with torch.no_grad():
        vae.likelihood.log_theta.fill_(np.log(3.0))
    z = np.zeros((20_000, 1), np.float32)
    mu = np.exp(vae.log_rate(z[:1], np.array([60.0])))[0]
    drawn = vae.sample(z, np.full(len(z), 60.0), seed=0)
    np.testing.assert_allclose(drawn.mean(0), mu, rtol=0.03)
    np.testing.assert_allclose(drawn.var(0), mu + mu**2 / 3, rtol=0.06)


@pytest.mark.parametrize("n", [1, 10, 76, 160, 360, 700])
def test_few_cells_get_as_many_steps_as_a_model_needs(n):
    # 76 read-count cells with 200 steps were 1,600 nats per cell worse than with 1,000
    assert Schedule.make(ModelSettings(), n).steps >= 1000
    assert Schedule.make(ModelSettings(epochs=3), n).epochs == 3


@pytest.mark.parametrize("n", [1600, 4000, 9600, 16_000, 24_000, 80_000, 800_000])
def test_more_cells_get_no_fewer_steps(n):
    # 9,600 cells with 1,750 steps and the learning rate of 2,000 cells lost half of the cycle, and a nat per cell
    schedule = Schedule.make(ModelSettings(), n)
    assert schedule.steps >= Schedule.make(ModelSettings(), 1600).steps
    assert 8 <= schedule.epochs <= 100


def test_more_cells_in_a_step_make_longer_steps():
    settings = ModelSettings(learning_rate=1e-3)
    rates = [Schedule.make(settings.model_copy(update={"batch_size": size}), 5000).peak for size in (16, 64, 256, 4096)]
    assert rates == pytest.approx([1e-3, 1e-3, 2e-3, 1e-3 * 8**0.5])


def test_one_outlying_validation_cell_does_not_say_when_to_stop():
    # as it happened: the outlier was least unlikely while the learning rate was high, all others got better until late
    rng = np.random.default_rng(0)
    others = rng.normal(-850, 100, 35)
    early, late = np.append(others - 10, -15_000), np.append(others, -16_000)
    assert early.mean() > late.mean()
    assert loop.typical(early) < loop.typical(late)


@pytest.mark.parametrize(
    ("n_cells", "n_genes", "axes"), [(76, 2000, 10), (200, 2000, 25), (5000, 2000, 32), (5000, 24, 24)]
)
def test_few_cells_get_few_axes(n_cells, n_genes, axes):
    # 76 cells with 1.6 million counts each kept 32 axes in use, a cell or two on each
    assert ModelSettings().with_axes(n_cells, n_genes).n_axes == axes
    assert ModelSettings(n_latent=7).with_axes(n_cells, n_genes).n_axes == 7
