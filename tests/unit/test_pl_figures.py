"""Figures: nothing cut off, readable with 100 axes, the same bytes for the same data, and the numbers of the data."""

import hashlib
import io
import re
import warnings
import zlib
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pl_arrays
import pytest
from anndata import AnnData
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.collections import QuadMesh
from matplotlib.text import Text

import sclatent as sl
from sclatent.data import slots
from sclatent.pl import _style
from sclatent.pl._axes.figures import _heatmap
from sclatent.pl._axes.table import by_axis
from sclatent.pl._knob import phase_arcs
from sclatent.pl._page.route import near_steps, route
from sclatent.pl._paths import PSEUDO, path, paths
from sclatent.pl._traversals import _overview

ODD = ["a$b$ ^{x}", "a_very_long_name_that_somebody_gave_to_a_column_of_their_table", "größe/µ <b>é</b>"]


@pytest.fixture(scope="module")
def stages():
    adata = pl_arrays.prepared(400, 200)
    return adata, pl_arrays.cycle(adata), pl_arrays.latent(adata), pl_arrays.umap(adata)


def models_table(n=3):
    rows = []
    for k in range(n):
        for seed in (0, 1):
            rows.append(
                {
                    "model": f"m{k}",
                    "seed": seed,
                    "selected": seed == 0,
                    "likelihood": ["nb", "poisson"][k % 2],
                    "decoder": "mlp",
                }
            )
            rows[-1] |= {
                "n_latent": 10 * (k + 1),
                "n_active": 8 + k,
                "test_marginal": -400.0 - k - seed,
                "test_marginal_se": 3.0,
            }
            rows[-1] |= {
                "test_elbo": -403.0 - k,
                "validation_marginal": -401.0 - k,
                "validation_marginal_se": 3.1,
                "validation_elbo": -404.0 - k,
            }
            for phase in ("S", "G2M"):
                rows[-1] |= {
                    f"best_axis_{phase}": "axis_1",
                    f"best_mi_{phase}": 0.5,
                    f"second_mi_{phase}": 0.2,
                    f"best_spearman_{phase}": 0.7,
                }
    return pd.DataFrame(rows)


def calibration():
    rng = np.random.default_rng(0)
    observed = rng.uniform(0, 1, 50)
    spread = rng.uniform(1, 20, 50)
    return {
        "pit": rng.uniform(0.9, 1.1, 20).tolist(),
        "zero_fraction_observed": observed.tolist(),
        "zero_fraction_expected": (observed * 0.95).tolist(),
        "variance_to_mean_observed": spread.tolist(),
        "variance_to_mean_expected": (spread * 1.1).tolist(),
    }


def history(n=30):
    epoch = np.arange(1, n + 1)
    elbo = -400 - 300 * np.exp(-epoch / 5)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_elbo": elbo,
            "validation_elbo": elbo - 5,
            "kl": epoch / 3,
            "kl_weight": np.minimum(1, epoch / 10),
        }
    )


def every_figure(stages, n_axes=pl_arrays.N_AXES, odd=False):
    """All figures of the package, from one made-up dataset."""
    adata, cycle, latent, umap = stages
    if n_axes != latent.n_vars:
        latent = pl_arrays.latent(adata, n_axes)
    axes = pl_arrays.axes(adata, latent)
    traversals = pl_arrays.traversals(adata, n_axes, steps=9)
    stability = pd.DataFrame({"axis": latent.var_names, "name": axes["name"], "n_seeds": 2, "n_returned": 1})
    stability = stability.assign(stable=True, correlation=0.8, loading_correlation=0.6, worst_correlation=0.5)
    models = models_table()
    if odd:
        axes.loc[:2, "name"] = ODD
        axes.loc[3:4, "name"] = [name * 4 for name in ODD[1:]]
        axes = axes.rename(columns={"spearman_library_size": f"spearman_{ODD[0]}", "eta2_batch": f"eta2_{ODD[1]}"})
        traversals.var_names = [*ODD, *traversals.var_names[3:]]
        models["model"] = models["model"] + ODD[0] + ODD[1]
    runs = list(zip(models["model"], models["seed"], strict=True))
    groups = {
        "qc": sl.pl.qc(adata),
        "cycle": sl.pl.cycle(adata, cycle),
        "axes": sl.pl.axes(latent, axes, map=umap, traversals=traversals, stability=stability),
        "traversals": sl.pl.traversals(traversals, axes),
        "knob": sl.pl.knob(pl_arrays.knob(adata), traversals, map=umap, latent=latent, cycle=cycle),
        "models": sl.pl.models(
            models,
            {run: {"calibration": calibration()} for run in runs},
            {run: history() for run in runs},
            dict.fromkeys(runs, axes),
        ),
    }
    return {f"{group}_{name}": figure for group, figures in groups.items() for name, figure in figures.items()}


def cut_off(figure):
    """How far anything sticks out of the figure: left, bottom, right, top, in points; empty if nothing does."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    out = 72 * np.array([-box.x0, -box.y0, box.x1 - width, box.y1 - height])
    return [round(float(v), 1) for v in out] if out.max() > 1 else []


@pytest.mark.parametrize("odd", [False, True])
def test_nothing_is_cut_off(stages, odd):
    """Also with names that are long, in other scripts, or look like formulas."""
    found = every_figure(stages, n_axes=5 if odd else 3, odd=odd)
    assert {name: out for name, figure in found.items() if (out := cut_off(figure))} == {}


def test_a_hundred_axes_are_readable(stages):
    adata, _, _, umap = stages
    latent = pl_arrays.latent(adata, 100)
    axes = pl_arrays.axes(adata, latent)
    axes["active"] = np.arange(100) < 3
    few = sl.pl.axes(latent, axes, map=umap)["heatmap"]
    assert len(few.axes[0].get_yticklabels()) == 3
    assert "not active: 97 axes" in few.get_supxlabel()
    axes["active"] = True
    found = {"heatmap": _style.styled(_heatmap)(by_axis(axes))}
    steps = pl_arrays.traversals(adata, 100, steps=5, cycle=False)
    found["overview"] = _style.styled(_overview)([path(steps, name) for name in paths(steps)], by_axis(axes))
    for name, figure in found.items():
        assert cut_off(figure) == [], name
        for ax in figure.axes:
            labels = [t.get_window_extent() for t in ax.get_yticklabels() if t.get_visible() and t.get_text()]
            labels.sort(key=lambda box: box.y0)
            # labels of neighbouring rows may touch by the height of a descender, not cover one another
            assert all(a.y1 - b.y0 < 0.45 * a.height for a, b in pairwise(labels)), name
            assert all(box.height >= 5 for box in labels)


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 100.0])
def test_numbers_below_the_bars_of_loadings_do_not_touch(stages, scale):
    adata, _, latent, umap = stages
    latent = latent.copy()
    latent.varm["loadings"] = np.tile(np.linspace(-0.0144, 0.0172, adata.n_vars) * scale, (latent.n_vars, 1))
    axes, traversals = pl_arrays.axes(adata, latent), pl_arrays.traversals(adata, steps=9)
    figure = sl.pl.axes(latent, axes, map=umap, traversals=traversals)["card_axis_1"]
    ax = next(ax for ax in figure.axes if ax.get_title("left") == "Top genes both ways")
    with mpl.rc_context(_style.RC):  # as it is saved: ticks are made when they are drawn
        figure.draw_without_rendering()
        low, high = ax.get_xlim()
        labels = [label for at, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True) if low <= at <= high]
        boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) > 1
    assert all(a.x1 + 2 < b.x0 for a, b in pairwise(boxes)), [label.get_text() for label in labels]


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text)) + str(figure.get_supxlabel())


def test_weak_axes_come_last_and_are_not_drawn_in_full(stages):
    adata, _, latent, umap = stages
    axes = pl_arrays.axes(adata, latent)
    axes["strength"] = ["strong", "weak", "strong", "weak", "strong", "inactive"]
    axes["active"] = axes["strength"] != "inactive"
    traversals = pl_arrays.traversals(adata, steps=9)
    figures = sl.pl.axes(latent, axes, map=umap, traversals=traversals)
    assert [name for name in figures if name.startswith("card")] == ["card_axis_1", "card_axis_3", "card_axis_5"]
    rows = [label.get_text() for label in figures["heatmap"].axes[0].get_yticklabels()]
    assert [row.endswith("(weak)") for row in rows] == [False, False, False, True, True]
    assert len(figures["loadings"].axes[0].get_yticklabels()) == 3
    drawn = sl.pl.traversals(traversals, axes)
    assert set(drawn) == {"overview", "cycle", "axis_1", "axis_3", "axis_5"}
    for figure in (figures["responses"], drawn["overview"]):
        assert "left out on purpose: 2 weak axes (information below" in " ".join(words(figure).split())
        assert cut_off(figure) == []
    # asked for, or where there is no other
    assert "axis_2" in sl.pl.traversals(traversals, axes, weak=True)
    axes["strength"] = "weak"
    assert {"card_axis_1", "card_axis_2"} <= set(sl.pl.axes(latent, axes, traversals=traversals))


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("strength", ["weak", "strong"])
def test_few_axes_have_room(stages, n, strength):
    """A model with one weak axis and three scores: the words are wider and higher than the cells."""
    adata, _, latent, umap = stages
    axes = pl_arrays.axes(adata, latent)
    axes["strength"] = [strength] * n + ["inactive"] * (len(axes) - n)
    axes["active"] = axes["strength"] != "inactive"
    axes["kl"] /= 100
    axes = axes.drop(columns=[c for c in axes if "_score" in c or c.endswith(("_batch", "_phase"))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = sl.pl.axes(latent, axes, map=umap, traversals=pl_arrays.traversals(adata, steps=9))
        for name in ("heatmap", "loadings", "responses"):
            assert cut_off(figures[name]) == [], name
    figures["heatmap"].canvas.draw()
    kl, *_ = figures["heatmap"].axes
    words_below = figures["heatmap"]._supxlabel.get_window_extent()
    assert words_below.y1 < kl.xaxis.label.get_window_extent().y0
    ticks = [label.get_window_extent() for label in kl.get_xticklabels() if label.get_text()]
    assert all(a.x1 < b.x0 for a, b in pairwise(ticks))


def test_a_card_cuts_its_list_of_scores_between_two_of_them(stages):
    adata, _, latent, *_ = stages
    axes = pl_arrays.axes(adata, latent)
    axes.loc[0, "also"] = "cycling_probability (0.70), S_score (0.49), n_genes_by_counts (0.41)"
    axes.loc[1, "also"] = "cycling_probability (0.70)"
    cards = sl.pl.axes(latent, axes)
    assert "also cycling_probability (0.70), …" in " ".join(words(cards["card_axis_1"]).split())
    assert "also cycling_probability (0.70)" in " ".join(words(cards["card_axis_2"]).split())
    assert "…" not in words(cards["card_axis_2"])


def test_the_same_data_give_the_same_bytes(stages, tmp_path):
    adata, cycle, *_ = stages
    digests = []
    for turn in ("a", "b"):
        with mpl.rc_context({"font.size": 20 if turn == "a" else 5, "axes.facecolor": "red"}):
            some = {name: figure for name, figure in sl.pl.cycle(adata, cycle).items() if name in ("scores", "polar")}
            files = sl.pl.save(some, tmp_path / turn)
        digests.append([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])
    assert digests[0] == digests[1]
    assert {name.rsplit(".", 1)[1] for name, _ in digests[0]} == {"png", "pdf"}


def test_fonts_in_a_pdf_are_what_draws_its_glyphs(tmp_path):
    """Tables that choose and place glyphs are cut down glyph by glyph, which takes as long as the drawing."""
    usual = subset.Options().drop_tables
    (file,) = sl.pl.save({"words": _style.note("fit to 1 SD of θ₂")}, tmp_path, ("pdf",))
    streams = re.findall(rb"/Length1.*?stream\n(.*?)\nendstream", file.read_bytes(), re.DOTALL)
    fonts = [TTFont(io.BytesIO(zlib.decompress(stream))) for stream in streams]
    assert fonts
    for font in fonts:
        assert {"glyf", "hmtx"} <= set(font.keys())
        assert not {"GDEF", "GPOS", "GSUB"} & set(font.keys())
    drawn = [glyph for font in fonts for glyph in font.getGlyphOrder() if font["glyf"][glyph].numberOfContours]
    assert len(drawn) >= len(set("fit to 1 SD of θ₂") - {" "})
    assert subset.Options().drop_tables == usual


def test_the_users_settings_and_pyplot_are_left_alone(stages):
    import matplotlib.pyplot as plt

    before, open_figures = dict(mpl.rcParams), plt.get_fignums()
    sl.pl.qc(stages[0])
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == open_figures


def test_points_of_many_cells_make_small_files(tmp_path):
    rng = np.random.default_rng(0)
    n = 200_000
    figure = _style.figure(5, 5)
    drawn = _style.points(figure.subplots(), rng.normal(size=n), rng.normal(size=n), rng.uniform(size=n))
    assert len(drawn.get_offsets()) == _style.MAX_POINTS
    for file in sl.pl.save({"many": figure}, tmp_path):
        assert file.stat().st_size < 3e6, file


def test_the_heatmap_shows_the_fold_changes(stages):
    traversals = pl_arrays.traversals(stages[0], steps=9)
    figure = sl.pl.traversals(traversals)["axis_2"]
    mesh = max(
        (c for ax in figure.axes for c in ax.collections if isinstance(c, QuadMesh)), key=lambda c: c.get_array().size
    )
    labels = next([t.get_text() for t in ax.get_yticklabels()] for ax in figure.axes if mesh in ax.collections)
    rows = traversals.obs["path"] == "axis_2"
    level = pd.DataFrame(np.log2(traversals.X[rows.to_numpy()].astype(float) + PSEUDO), columns=traversals.var_names)
    used = (traversals.obs["density"][rows] > 0).to_numpy()
    expected = (level - level[used].mean())[labels].to_numpy().T
    np.testing.assert_allclose(mesh.get_array().reshape(expected.shape), expected, atol=1e-5)
    # the genes shown are those with the largest range
    span = (level[used].max() - level[used].min()).nlargest(len(labels))
    assert set(labels) == set(span.index)


def test_genes_of_the_knob_are_in_the_order_of_their_peaks(stages):
    adata = stages[0]
    view = path(pl_arrays.traversals(adata, steps=41), "cycle")
    genes = view.in_order(view.changing(30))
    truth = adata.var[slots.TRUE_PEAK].to_numpy()[genes]
    # the simulated angle and the decoded path are the same here, so the order is that of the true peaks
    assert np.abs(np.angle(np.exp(1j * (view.peak()[genes] - truth)))).max() < 0.1
    assert (np.diff(view.peak()[genes]) >= 0).all()


def test_the_filters_are_told_in_the_figure(stages):
    adata = stages[0].copy()
    table = adata.uns[slots.UNS][slots.UNS_FILTERS]
    table.loc["0", ["taken", "left"]] = [37, 363]
    words = " ".join(t.get_text() for t in sl.pl.qc(adata)["cells"].findobj(Text))
    assert "min_genes 20: removed 37" in words
    assert "− 37" in words


def test_a_share_that_nobody_could_measure_is_told_in_the_figure(stages):
    adata = stages[0].copy()
    genes = adata.uns[slots.UNS].setdefault(slots.UNS_GENES, {})
    said = "no mitochondrial gene is known among 31,053"
    for found, n_read, wanted in ((0, 31_053, True), (13, 31_053, False), (0, 500, False)):
        genes.update(n_read=n_read, n_mitochondrial=found, n_ribosomal=90)
        words = " ".join(t.get_text() for t in sl.pl.qc(adata)["cells"].findobj(Text))
        assert (said in words) == wanted
        assert "no ribosomal" not in words


def test_no_cycle_gives_a_figure_that_says_why(stages):
    adata, cycle, *_ = stages
    cycle = cycle.copy()
    cycle.obs[[slots.S_SCORE, slots.G2M_SCORE]] = np.nan
    cycle.uns[slots.UNS]["cycle"]["reason"] = "2 of 43 S genes are there"
    figures = sl.pl.cycle(adata, cycle)
    assert list(figures) == ["scores"]
    assert "2 of 43 S genes" in words(figures["scores"]).replace("\n", " ")
    none = sl.pl.knob(pl_arrays.NO_KNOB, pl_arrays.traversals(adata, cycle=False), cycle=cycle)
    assert list(none) == ["evidence"]
    assert any("3 of 600 cells" in t.get_text() for t in none["evidence"].findobj(Text))


def test_part_of_a_cycle_is_called_so(stages, tmp_path):
    adata, whole, latent, umap = stages
    cycle = whole.copy()
    only_g2m = cycle.obs[slots.PHASE].where(cycle.obs[slots.PHASE] == "G2M")
    cycle.obs[slots.PHASE] = only_g2m
    cycle.uns[slots.UNS]["cycle"] |= {
        "verdict": "part of a cycle",
        "reason": "it is not known where G1 and S meet",
        "phases": ["G2M"],
        "g2m_start": 4.0,
        "g2m_end": 0.5,
    }
    figures = sl.pl.cycle(adata, cycle)
    assert "Part of a cycle: it is not known where G1 and S meet" in words(figures["scores"]).replace("\n", " ")
    assert "Part of a cycle" in words(figures["polar"])
    assert "start of G1" in words(figures["polar"])
    assert "G1:" not in words(figures["scores"])
    # nothing is said of the rest of the circle
    assert phase_arcs(cycle) == [("G2M", 4.0, pytest.approx(0.5 + 2 * np.pi))]
    for border in ("g2m_start", "g2m_end"):
        del cycle.uns[slots.UNS]["cycle"][border]
    assert phase_arcs(cycle) == []
    atlas = pl_arrays.atlas(adata, cycle, latent, umap, pl_arrays.axes(adata, latent))
    atlas.uns[slots.UNS]["cycle"] = {"verdict": "part of a cycle", "reason": "it is not known < where"}
    page = sl.pl.page(atlas, pl_arrays.traversals(adata), pl_arrays.knob(adata), tmp_path / "part.html")
    text = page.read_text(encoding="utf-8")
    assert "Cell cycle: part of a cycle (it is not known &lt; where)." in text


def test_no_active_axis_is_no_error(stages):
    traversals = pl_arrays.traversals(stages[0])[:0].copy()
    assert paths(traversals) == []
    assert list(sl.pl.traversals(traversals)) == ["overview"]


def test_phase_arcs_run_over_the_end_of_the_circle():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 2000)
    # some cells are called otherwise than most around them
    noisy = np.mod(angle + rng.normal(0, 0.15, 2000), 2 * np.pi)
    phase = np.where(noisy < 0.5, "G2M", np.where(noisy < 3, "G1", np.where(noisy < 5, "S", "G2M")))
    cells = AnnData(obs=pd.DataFrame({slots.CYCLE_ANGLE: angle, slots.PHASE: phase}, index=map(str, range(2000))))
    arcs = {name: (start, stop) for name, start, stop in phase_arcs(cells)}
    assert arcs["G1"] == pytest.approx((0.5, 3), abs=0.15)
    assert arcs["S"] == pytest.approx((3, 5), abs=0.15)
    assert arcs["G2M"] == pytest.approx((5, 0.5 + 2 * np.pi), abs=0.15)
    cells.uns[slots.UNS] = {"cycle": {"s_start": 2.9, "g2m_start": 5.1}}
    assert phase_arcs(cells) == [("G1", 0.0, 2.9), ("S", 2.9, 5.1), ("G2M", 5.1, 2 * np.pi)]


def test_the_dot_stays_on_the_cells_and_does_not_jump():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    island = rng.random(3000) < 0.45
    # two rings far apart: the mean of the cells of a step lies between them, where there is none
    xy = np.stack([3 * np.cos(angle) + 20 * island, 3 * np.sin(angle)], axis=1) + rng.normal(0, 0.15, (3000, 2))
    position = np.arange(40) * 2 * np.pi / 40
    way = route(xy, near_steps(angle, position, closed=True), closed=True)
    to_cells = np.sqrt(((way[:, None] - xy[None]) ** 2).sum(axis=2)).min(axis=1)
    assert to_cells.max() < 0.6
    step = np.sqrt((np.diff(np.vstack([way, way[:1]]), axis=0) ** 2).sum(axis=1))
    assert step.max() < 2.5
    # and it is at the right place of its ring
    found = np.arctan2(way[:, 1], way[:, 0] - 20 * (way[:, 0] > 10))
    assert np.abs(np.angle(np.exp(1j * (found - position)))).max() < 0.5


# Machado, Oliveira and Fernandes 2009, full dichromacy, on linear RGB
DICHROMACY = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def seen(colors, kind):
    """Colours as CIELAB, the way a dichromat sees them."""
    from skimage.color import rgb2lab

    rgb = np.asarray(colors, dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(DICHROMACY[kind]).T, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)[None])[0]


@pytest.mark.parametrize("kind", DICHROMACY)
def test_colours_can_be_told_apart_by_colour_blind_readers(kind):
    from matplotlib.colors import to_rgb

    phases = seen([to_rgb(c) for c in (*_style.PHASE_COLORS.values(), _style.RESTING)], kind)
    apart = np.sqrt(((phases[:, None] - phases[None]) ** 2).sum(axis=2))
    assert apart[~np.eye(len(apart), dtype=bool)].min() > 20
    ring = seen(_style.cycle_cmap()(np.arange(24) / 24)[:, :3], kind)
    apart = np.sqrt(((ring[:, None] - ring[None]) ** 2).sum(axis=2))
    turn = np.abs(np.arange(24)[:, None] - np.arange(24)[None])
    turn = np.minimum(turn, 24 - turn)
    assert apart[turn >= 6].min() > 20  # a quarter of a turn apart or more


def test_axes_that_are_not_active_are_only_counted_in_the_stability(stages):
    adata, _, latent, _ = stages
    axes = pl_arrays.axes(adata, latent)
    axes["active"] = [True, *[False] * (len(axes) - 1)]
    if "strength" in axes:
        axes["strength"] = ["strong", *["inactive"] * (len(axes) - 1)]
    stability = pd.DataFrame({"axis": latent.var_names, "n_seeds": 2, "n_returned": 1, "stable": True})
    stability = stability.assign(correlation=0.8, loading_correlation=0.6, worst_correlation=0.5)
    (ax,) = sl.pl.axes(latent, axes, stability=stability)["stability"].axes
    assert len(ax.get_yticklabels()) == 1
    assert f"not active: {len(axes) - 1} axes" in ax.get_xlabel()


@pytest.mark.parametrize(("cutoff", "drawn"), [(60.0, False), (3.0, True)])
def test_a_cut_off_far_away_does_not_press_the_values_together(cutoff, drawn):
    from matplotlib.figure import Figure

    from sclatent.pl._qc import _histogram

    ax = Figure().subplots()
    values = np.random.default_rng(0).normal(2, 0.3, 500)
    filters = pd.DataFrame({"filter": ["cells.max_percent_mito"], "cutoff": [cutoff], "taken": [0]})
    _histogram(ax, values, np.ones(500, bool), filters, "mitochondrial counts (%)", False, ("cells.max_percent_mito",))
    (words,) = ax.texts
    assert ("(out of view)" in words.get_text()) != drawn
    assert len(ax.lines) == drawn
    assert ax.get_xlim()[1] < 5
