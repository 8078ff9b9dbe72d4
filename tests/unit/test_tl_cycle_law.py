"""What the fit of the cycle stage starts from, is judged by, and lets join."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats
from scipy.special import gammaln

from sclatent.data import simulate
from sclatent.tl import cycle
from sclatent.tl._cycle import grow as _cycle_grow
from sclatent.tl._cycle.choice import _predict, mean_gain
from sclatent.tl._cycle.em import Fit, start_from_angle
from sclatent.tl._cycle.fit import first_guesses
from sclatent.tl._cycle.grow import Grown, Growth
from sclatent.tl._cycle.join import certainty, explained
from sclatent.tl._cycle.law_choice import DEEP_PLAN, SHALLOW_PLAN, with_genes_of_counts
from sclatent.tl._cycle.laws.counts import CountLaw, sum_log_nb
from sclatent.tl._cycle.laws.log import LogLaw, loadings
from sclatent.tl._cycle.laws.source import Source
from sclatent.tl._cycle.scores import ListGenes, find_list_genes
from sclatent.tl._cycle.states import BINS, GRID, Quality


def _curves(law, genes, rng):
    curves = law.start(np.zeros(genes, dtype=np.int64), 1, 0.2)
    coef = curves.coef.copy()
    coef[:, 1:] = rng.normal(0, 0.3, (genes, 2))
    return replace(curves, coef=coef, rest=coef[:, 0] - 0.4, batch=rng.normal(0, 0.3, (2, genes)))


def test_evidence_of_counts_is_that_of_the_negative_binomial():
    rng = np.random.default_rng(0)
    library = np.exp(0.05 * rng.integers(80, 140, 12))  # libraries are rounded to 5 %
    counts = rng.poisson(library[:, None] * np.exp(rng.normal(-4, 1, 6))).astype(float)
    law = CountLaw(counts, library, np.arange(12) % 2, 2)
    curves = replace(_curves(law, 6, rng), noise=rng.uniform(1, 20, 6))
    mu = library[:, None] * np.exp(np.vstack([curves.values(), curves.rest])[:, None] + curves.batch[law.batch])
    density = stats.nbinom.pmf(counts, curves.noise, curves.noise / (curves.noise + mu)).prod(axis=2)
    # all but x log l and log x!, which are the same whatever the curves
    wanted = np.log(np.exp(curves.prior) @ density).mean()
    left_out = (counts * np.log(library)[:, None] - gammaln(counts + 1)).sum(axis=1).mean()
    assert law.evidence(curves) == pytest.approx(wanted - left_out)


def test_evidence_of_log_counts_is_that_of_the_normal():
    rng = np.random.default_rng(0)
    law = LogLaw(rng.normal(2, 1, (12, 6)), np.arange(12) % 2, 2)
    curves = _curves(law, 6, rng)
    curves = replace(curves, quality=Quality(rng.normal(size=(6, 2)), (0.2, 0.5)))
    shared = curves.quality.loadings * [0.2, 0.5]
    cov = np.diag(curves.noise) + shared @ shared.T
    levels = np.vstack([curves.values(), curves.rest])
    wanted = [
        np.log(np.exp(curves.prior) @ [stats.multivariate_normal.pdf(row, level, cov) for level in levels])
        for row in law.y - curves.batch[law.batch]
    ]
    assert law.evidence(curves) == pytest.approx(np.mean(wanted))


def test_a_later_guess_goes_on_only_if_it_is_clearly_better(monkeypatch):
    """Two that end at one fit differ by rounding, which must not decide what grows from them."""
    monkeypatch.setattr(_cycle_grow, "fit", lambda law, group, guess, *_, **__: SimpleNamespace(curves=guess))
    monkeypatch.setattr(Growth, "_judge", lambda self, columns, group, fitted: fitted)
    growth = Growth.__new__(Growth)
    growth.rows = growth.listed = growth.phase = np.arange(3)
    growth.plan = DEEP_PLAN
    growth.source = SimpleNamespace(law=lambda *_, **__: SimpleNamespace(evidence=float))
    for evidence, best in (([-1.0, -0.97], 0), ([-1.0, -0.5], 1), ([-0.5, -1.0], 0)):
        fitted, number = growth.first(evidence)
        assert (fitted.curves, number) == (evidence[best], best)


def test_first_guesses_differ_in_who_rests():
    genes = ListGenes(np.arange(4), np.repeat(["S", "G2M"], 2), {"S": 2, "G2M": 2})
    y = sp.csr_matrix(np.repeat([[3, 0], [0, 3], [3, 3], [0, 0], [0, 0]], 2, axis=1).astype(float))
    nobody, many = first_guesses(y, genes)
    assert (nobody[:, BINS] == 0).all()
    assert many[:, BINS] == pytest.approx([0.1, 0.1, 0.1, 0.9, 0.9])
    assert many.sum(axis=1) == pytest.approx(1)
    assert (nobody[:, :BINS].argmax(axis=1) == many[:, :BINS].argmax(axis=1)).all()


def test_markers_of_a_cell_type_do_not_join():
    rng = np.random.default_rng(0)
    n, angle = 600, rng.uniform(0, 2 * np.pi, 600)
    kind = rng.normal(size=n) + 0.5 * np.cos(angle)  # by chance more of the one type on one side
    noise = rng.normal(size=(260, n))
    listed = 2 * np.cos(angle - np.repeat([0.0, 2.5], 10)[:, None])
    follow, markers = np.tile(np.cos(angle + 1), (10, 1)), np.tile(3 * kind, (30, 1))
    y = sp.csr_matrix((10 + noise + np.vstack([listed, follow, markers, np.zeros((200, n))])).T)
    phase = np.repeat([0, 1], 10)
    q = start_from_angle(angle, concentration=50.0)
    growth = Growth(None, y, np.arange(20), phase, SHALLOW_PLAN)
    now = Grown(np.arange(20), phase, Fit(SimpleNamespace(harmonics=1), 1.0, q), explained(y, q)[0], np.zeros((n, 20)))
    assert (now.r2[30:60] * n > 12).all()
    beside, free, *_ = growth._choices(now, 1)[0]
    assert set(beside) == set(range(30))
    assert set(free) >= set(range(60))  # tried too, and judged on held-out genes


@pytest.mark.parametrize(("plan", "group"), [(SHALLOW_PLAN, [30, 60]), (DEEP_PLAN, [60])])
@pytest.mark.parametrize("moved", [0.3, 2.0])
def test_an_angle_that_moves_has_to_be_better(monkeypatch, plan, group, moved):
    """Within the error of the score an angle may stay where it was, and not go where the genes of a cell type are."""
    rng = np.random.default_rng(0)
    n, phase, angle = 400, np.repeat([0, 1], 10), rng.uniform(0, 2 * np.pi, 400)
    q = start_from_angle(angle, concentration=2.0)
    gain = np.zeros((n, 20))
    growth = Growth(None, sp.csr_matrix((n, 80)), np.arange(20), phase, plan)
    now = Grown(np.arange(20), phase, Fit(SimpleNamespace(harmonics=1), 1.0, q), np.zeros(80), gain)
    worse = gain - 0.001 + 0.1 * (rng.permutation(n) - n / 2)[:, None] / n
    tried = []

    def fit(self, columns, group, start, harmonics, temper):
        tried.append(len(columns))
        there = start_from_angle(angle + moved * rng.normal(size=n), concentration=2.0)
        return Grown(columns, group, Fit(SimpleNamespace(harmonics=harmonics), 1.0, there), now.r2, worse)

    monkeypatch.setattr(Growth, "fit", fit)
    monkeypatch.setattr(Growth, "_second_peak", lambda self, grown: 0.0)
    monkeypatch.setattr(
        Growth, "_joining", lambda self, now, rival=True: np.arange(20, 30 if rival and len(group) > 1 else 60)
    )
    grown = growth.grow(now)
    if plan is SHALLOW_PLAN:
        assert (grown is now) == (moved > 1)
        assert tried[:2] == group
    else:  # deep counts: for genes that join, an angle that stays is no excuse; for harmonics of the same genes it is
        assert (grown.columns == now.columns).all()
        assert grown.fitted.curves.harmonics == 3


def test_gains_by_chance_are_chi_squared_times_the_certainty_of_the_angles():
    rng = np.random.default_rng(0)
    n, genes = 500, 2000
    y = sp.csr_matrix(5 + rng.gamma(2.0, size=(n, genes)))
    rest = rng.choice([0.0, 0.3, 0.95], n)
    for concentration in (0.5, 1.0, 50.0):
        q = start_from_angle(rng.uniform(0, 2 * np.pi, n), concentration, resting=rest)
        gain = explained(y, q)[0] * q[:, :BINS].sum()
        assert stats.kstest(gain / certainty(q[:, :BINS]), "chi2", (2,)).statistic < 0.06


def test_dispersions_are_compared_by_the_likelihood_of_scipy():
    rng = np.random.default_rng(0)
    counts, mu = rng.poisson(0.4, (50, 6)).astype(float), rng.gamma(1.0, 0.5, (50, 6))
    thetas = np.array([0.05, 3.0, 1000.0])
    expected = np.stack([stats.nbinom.logpmf(counts, t, t / (t + mu)).sum(axis=0) for t in thetas])
    ours = sum_log_nb(counts, mu, thetas)
    assert ours - ours[0] == pytest.approx(expected - expected[0], rel=1e-9)


def test_vague_angles_explain_less_by_the_square_of_their_certainty():
    rng = np.random.default_rng(0)
    n = 20_000
    angle = rng.choice(GRID, n)
    y = sp.csr_matrix((10 + np.cos(angle - 1.0) + rng.normal(size=n))[:, None])
    for concentration in (0.5, 2.0, 8.0):
        q = start_from_angle(angle + rng.vonmises(0.0, concentration, n), concentration)
        wanted = certainty(q[:, :BINS]) ** 2 * (0.5 / 1.5)
        assert explained(y, q)[0][0] == pytest.approx(wanted, rel=0.12)


def test_loadings_are_what_library_and_capture_change():
    rng = np.random.default_rng(0)
    molecules = np.array([0.1, 1.0, 5.0])
    change = 0.1
    found = []
    for log_capture in (-change / 2, change / 2):
        seen = rng.random((400_000, 3)) < 1 - np.exp(-molecules * np.exp(log_capture))
        found.append(3.0 * seen)  # reads of a gene that is seen, over a library that is the same
    slope = (found[1].mean(axis=0) - found[0].mean(axis=0)) / change
    assert loadings(np.vstack(found))[:, 1] == pytest.approx(slope, rel=0.1, abs=0.01)
    deep = rng.normal(4.0, 0.1, (100, 2))
    assert loadings(deep)[:, 0] == pytest.approx(1 - np.exp(-4.0), abs=0.01)
    assert loadings(deep)[:, 1] == pytest.approx(0.0, abs=1e-6)


def test_differences_in_capture_are_found_and_none_where_there_are_none():
    rng = np.random.default_rng(0)
    cells, genes = 400, 80
    molecules = np.exp(rng.uniform(-2, 3, genes))
    q = start_from_angle(rng.uniform(0, 2 * np.pi, cells), 0.1)
    for sd, least, most in ((0.0, 0.0, 0.1), (0.4, 0.2, 0.5)):
        caught = np.exp(rng.normal(0, sd, (cells, 1)))
        y = (rng.random((cells, genes)) < 1 - np.exp(-caught * molecules)) * rng.normal(4.0, 0.5, (cells, genes))
        law = LogLaw(y, np.zeros(cells, dtype=np.int64), 1)
        curves = law.fit_curves(q, law.start(np.zeros(genes, dtype=np.int64), 1, 0.0))
        assert least <= law.fit_noise(q, curves).quality.sd[1] <= most
        assert len(replace(law, capture=False).start(np.zeros(genes, dtype=np.int64), 1, 0.0).quality.sd) == 1


def _read_counts(seed):
    """Return simulated cells as full-length reads: molecules caught by the quality of a cell, and amplified."""
    data = simulate(
        300, 2500, median_library=3e4, resting=0.1, seed=seed, amplitude=(0.2, 0.8), theta=3.0, n_types=2, n_batches=1,
        list_share=0.03,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    caught = np.minimum(np.exp(rng.normal(-0.6, 0.5, (data.n_obs, 1))), 1)
    molecules = rng.binomial(data.X.toarray().astype(np.int64), caught)
    made = rng.gamma(np.maximum(molecules * 0.7, 1e-9)) * np.exp(rng.normal(0, 0.7, data.n_vars)) * (molecules > 0)
    reads = rng.poisson(made / made.sum(axis=1, keepdims=True) * 1e6)
    data.X = sp.csr_matrix(reads.astype(np.float32))
    return data[:, (reads > 0).sum(axis=0) >= 3].copy()


def test_an_angle_of_quality_predicts_no_genes_beyond_their_number():
    """Read counts: the number of genes seen says of a listed gene all that an angle along quality says."""
    data = _read_counts(0)
    genes = find_list_genes(data.var, np.asarray(data.X.sum(axis=0)).ravel(), "human", None)
    source = Source(data.X, np.asarray(data.X.sum(axis=1)).ravel(), np.zeros(data.n_obs, dtype=np.int64))
    group = np.where(genes.phase == "S", 0, 1)
    breadth = source.breadth(genes.position)
    unlisted = np.setdiff1d(np.arange(data.n_vars), genes.position)
    number = np.log1p(np.asarray((data.X[:, unlisted] > 0).sum(axis=1)).ravel())
    assert breadth[:, 1] == pytest.approx((number - number.mean()) / number.std())
    assert breadth[:, 2] == pytest.approx(breadth[:, 1] ** 2)
    quality, truth = np.pi * stats.norm.cdf(breadth[:, 1]), data.obs["true_angle"].to_numpy(float)
    fold = np.arange(data.n_obs) % 5
    gain = {}
    for name, angle in (("quality", quality), ("truth", np.nan_to_num(truth))):
        q = start_from_angle(angle, 20.0, resting=np.isnan(truth) if name == "truth" else 0.0)
        for how, known in (("plain", np.ones((data.n_obs, 1))), ("beyond", breadth)):
            gain[name, how] = mean_gain(_predict(source, q, genes.position, group, fold, known), group)[0]
    assert gain["quality", "plain"] > 0.01
    assert gain["quality", "beyond"] < 0.1 * gain["quality", "plain"]
    assert gain["truth", "beyond"] > 0.7 * gain["truth", "plain"]


@pytest.mark.parametrize(
    ("gain", "harmonics", "taken"), [(0.02, 2, True), (0.02, 3, False), (0.02, 1, False), (0.0005, 2, False)]
)
def test_what_the_law_of_counts_finds_must_predict_better_with_as_many_harmonics(monkeypatch, gain, harmonics, taken):
    rng = np.random.default_rng(0)
    phase = np.repeat([0, 1], 10)
    noise = 0.1 * rng.normal(size=(400, 20))

    def grown(h, by):
        return Grown(np.arange(20), phase, Fit(SimpleNamespace(harmonics=h), 1.0, np.ones((400, 1))), noise[0], by)

    start, again = grown(2, noise), grown(harmonics, 2 * noise + gain)
    growth = Growth(None, sp.csr_matrix((400, 20)), np.arange(20), phase, DEEP_PLAN)
    monkeypatch.setattr(Growth, "first", lambda self, guesses: (grown(1, noise), 0))
    monkeypatch.setattr(Growth, "fit", lambda self, *_: "started from counts")
    monkeypatch.setattr(Growth, "grow", lambda self, now: again if now == "started from counts" else now)
    assert (with_genes_of_counts(growth, start, []) is again) == taken


def test_read_counts_of_cells_of_unlike_quality_have_their_angle():
    """The listed genes alone follow the quality of the cells: .69."""
    data = _read_counts(1)
    truth = data.obs["true_angle"].to_numpy(float)
    found = cycle(data, organism="human")
    assert found.uns["sclatent"]["cycle"]["law"] == "log-normal"
    known = np.isfinite(truth) & found.obs["cycling"].to_numpy()
    away = np.exp(1j * (truth - found.obs["cycle_angle"].to_numpy()))[known]
    back = np.exp(1j * (truth + found.obs["cycle_angle"].to_numpy()))[known]
    assert max(abs(away.mean()), abs(back.mean())) > 0.85
