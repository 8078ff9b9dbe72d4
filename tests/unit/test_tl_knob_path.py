"""The closed path: recovered where it is known, whatever cell types and batches do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from sclatent.tl._paths import closed_path
from sclatent.tl._paths import strata as strata_of


def cells(n=1500, noise=0.1, angle_sd=0.0, follow=0.4, seed=0):
    """Cells on a known ring; two types far apart *in the plane of the ring*, and unequal over the angle."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    kind = (rng.random(n) < 0.5 - follow / 2 + follow * (np.cos(angle) > 0)).astype(int)
    batch = rng.integers(2, size=n)
    truth = np.zeros((4, 5))
    truth[0, 0], truth[1, 1], truth[2, 2] = -1.0, 0.8, 0.3
    shift = np.array([[0, 0, 0, 0, 0], [3.0, 0, 0, 4.0, 0]])[kind] + np.array([[0] * 5, [0, 0.5, 0, 0, 0]])[batch]
    means = closed_path.waves(angle, 2) @ truth + shift + rng.normal(0, noise, (n, 5))
    seen = angle + rng.normal(0, 1, n) * angle_sd
    return means, seen, np.full(n, angle_sd), batch, truth, kind


def test_the_path_is_recovered_though_types_lie_in_its_plane_and_follow_the_angle():
    means, angle, sd, batch, truth, _ = cells()
    path = closed_path.fit_path(means, angle, sd, np.ones(len(means), bool), batch, harmonics=2)
    np.testing.assert_allclose(path.coefficients, truth, atol=0.03)
    # without the strata the type would be part of the path
    x = closed_path.waves(angle, 2)
    naive = LinearRegression().fit(x, means).coef_.T
    assert np.abs(naive - truth).max() > 0.5


def test_number_of_harmonics_is_chosen_by_held_out_cells():
    means, angle, sd, batch, _, _ = cells(follow=0.0)
    on = np.ones(len(means), bool)
    assert closed_path.fit_path(means, angle, sd, on, batch).harmonics == 2
    flat = means.copy()
    flat[:, 2] = np.random.default_rng(1).normal(0, 0.1, len(flat))
    assert closed_path.fit_path(flat, angle, sd, on, batch).harmonics == 1


def test_angles_known_with_error_do_not_shrink_the_path():
    means, angle, sd, batch, truth, _ = cells(angle_sd=0.7, follow=0.0)
    on = np.ones(len(means), bool)
    path = closed_path.fit_path(means, angle, sd, on, batch, harmonics=2)
    assert abs(path.coefficients[0, 0] - truth[0, 0]) < 0.1
    blunt = closed_path.fit_path(means, angle, np.zeros_like(sd), on, batch, harmonics=2)
    assert abs(blunt.coefficients[0, 0]) < 0.9


def test_the_plane_is_where_the_path_varies_and_points_away_from_g1():
    means, angle, sd, batch, _, _ = cells()
    path = closed_path.fit_path(means, angle, sd, np.ones(len(means), bool), batch, harmonics=2)
    np.testing.assert_allclose(path.plane @ path.plane.T, np.eye(2), atol=1e-12)
    assert path.plane[0, 0] == pytest.approx(1, abs=0.01)
    assert abs(path.plane[1, 1]) == pytest.approx(1, abs=0.01)
    assert path.strength[0] == pytest.approx(1 / (1 + 0.64 + 0.09), abs=0.03)
    along = path.at([0.0, np.pi]) @ path.plane[0]
    assert along[0] < along[1]


def test_cells_off_the_cycle_keep_their_type_and_lose_their_angle():
    means, angle, sd, batch, _, kind = cells()
    path = closed_path.fit_path(means, angle, sd, np.ones(len(means), bool), batch, harmonics=2)
    gap = path.base[kind == 1].mean(axis=0) - path.base[kind == 0].mean(axis=0)
    np.testing.assert_allclose(gap[[0, 3]], [3, 4], atol=0.05)
    within = path.base - np.stack([path.base[kind == k].mean(axis=0) for k in (0, 1)])[kind]
    wave = np.exp(1j * angle)[:, None]
    assert np.abs((within[:, :2] * wave).mean(axis=0)).max() < 0.03
    # nothing is left in the plane but levels of batch and type
    assert within[:, 0].std() < 0.1


def test_cells_that_do_not_cycle_have_no_cycle_in_them():
    means, angle, sd, batch, _, _ = cells()
    on = np.arange(len(means)) % 3 > 0
    angle[~on] = np.nan
    path = closed_path.fit_path(means, angle, sd, on, batch)
    assert np.isfinite(path.base).all()
    assert (path.expected[~on] == 0).all()


def test_refit_within_strata_is_ordinary_least_squares_with_a_level_per_stratum():
    means, angle, sd, batch, _, kind = cells(n=400, angle_sd=0.5)
    strata = batch * 2 + kind
    some = np.random.default_rng(3).choice(400, 300)
    got, share = closed_path.refit(means, angle, sd, strata, some, 2)
    x = np.hstack([closed_path.waves(angle, 2, sd), np.eye(4)[strata]])[some]
    want = LinearRegression(fit_intercept=False).fit(x, means[some]).coef_.T[:4]
    np.testing.assert_allclose(got, want, rtol=1e-8)
    fitted = closed_path.waves(angle, 2, sd)[some] @ want
    assert share == pytest.approx(fitted.var(axis=0).sum() / means[some].var(axis=0).sum(), rel=1e-9)


def test_permutation_stays_in_the_stratum_and_among_the_cells_given():
    rng = np.random.default_rng(0)
    strata = rng.integers(4, size=500)
    given = np.flatnonzero(rng.random(500) < 0.6)
    source = strata_of.permutation(strata, given, np.random.default_rng(1))
    assert (np.sort(source) == np.arange(500)).all()
    assert (strata[source] == strata).all()
    rest = np.setdiff1d(np.arange(500), given)
    assert (source[rest] == rest).all()
    assert (source[given] == given).mean() < 0.1


def test_too_few_cells_and_one_axis():
    means, angle, sd, batch, _, _ = cells(n=200)
    with pytest.raises(ValueError, match="at least 30 cycling cells, found 29"):
        closed_path.fit_path(means, angle, sd, np.arange(200) < 29, batch)
    path = closed_path.fit_path(means[:, :1], angle, sd, np.ones(200, bool), batch)
    assert path.plane.shape == (1, 1)
    assert path.strength[0] == pytest.approx(1)


# --- angles among the coordinates ---


def ring(way=1, n=400, tight=False, follow=True, seed=0):
    """Cells whose third axis is an angle that follows the cycle, with a pause; `tight`: hardly any on one side."""
    rng = np.random.default_rng(seed)
    phi = rng.vonmises(4.2, 1.5, n) % (2 * np.pi) if tight else rng.uniform(0, 2 * np.pi, n)
    angle = way * (phi + 0.5 * np.sin(phi)) + 1.0 if follow else np.full(n, 2.0)
    angle = angle + rng.normal(0, 0.3, n)
    means = np.column_stack([rng.normal(size=n), np.sqrt(2) * np.cos(angle), np.sqrt(2) * np.sin(angle)])
    return means, phi, np.full(n, 0.1)


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("tight", [False, True])
def test_a_path_goes_round_an_angle_the_direct_way(way, tight):
    means, phi, sd = ring(way, 94 if tight else 400, tight)
    path = closed_path.fit_path(means, phi, sd, np.ones(len(means), bool), harmonics=1, circles=[(1, 2)])
    on_circle = path.center[1:] + path.at(np.arange(60) * 2 * np.pi / 60)[:, 1:]
    steps = np.angle(np.exp(1j * np.diff(np.arctan2(*np.vstack([on_circle, on_circle[:1]]).T[::-1]))))
    assert (way * steps > 0).all()
    assert (way * steps).sum() == pytest.approx(2 * np.pi)
    again, _ = closed_path.refit(means, phi, sd, path.strata, np.arange(len(means)), 1, [(1, 2)])
    np.testing.assert_allclose(again[:, 1:], path.coefficients[:, 1:])


def test_an_angle_that_stays_where_it_is_keeps_its_place():
    means, phi, sd = ring(follow=False, tight=True)
    path = closed_path.fit_path(means, phi, sd, np.ones(len(means), bool), harmonics=1, circles=[(1, 2)])
    assert np.abs(path.coefficients[:, 1:]).max() < 0.1
    angle = np.arctan2(path.base[:, 2], path.base[:, 1])
    assert np.abs(np.exp(1j * (angle - 2.0)) - 1).mean() < 0.4
    # nor do permuted angles find a path in where most cells are
    rng, strata = np.random.default_rng(0), np.zeros(len(means), np.int64)
    means, phi, sd = ring(tight=True)
    every = np.arange(len(means))
    found = closed_path.refit(means, phi, sd, strata, every, 1, [(1, 2)])[1]
    null = [
        closed_path.refit(means, phi[strata_of.permutation(strata, every, rng)], sd, strata, every, 1, [(1, 2)])[1]
        for _ in range(20)
    ]
    assert max(null) < 0.1 < 0.3 < found


def test_a_latent_of_one_angle_alone_has_a_path():
    means, phi, sd = ring()
    path = closed_path.fit_path(means[:, 1:], phi, sd, np.ones(len(means), bool), circles=[(0, 1)])
    assert path.plane.shape == (2, 2)
    np.testing.assert_allclose(path.base, 0, atol=1e-9)
    assert np.hypot(*path.at(np.arange(6)).T).min() > 1
