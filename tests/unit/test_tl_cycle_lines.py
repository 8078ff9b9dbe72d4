"""Real cells from counts to verdict: three dividing cell lines have a knob, resting blood cells have none."""

from __future__ import annotations

import os
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mutual_info_score

from sclatent import pp, tl
from sclatent.data import peak_order
from sclatent.tl._cycle.gauge import list_curve, second_peak
from sclatent.tl._cycle.states import basis

LUNG = {"batch": "batch", "labels": ["cell_line"]}
QUICK = {"models": {"quick": {"epochs": 100}}}
"""A third of the epochs that training would take: S and G2/M lie on one axis before that."""


@pytest.fixture(scope="module")
def lung(shared_data, make_settings):
    settings = make_settings(**LUNG, **QUICK)
    prepared = pp.prepare(ad.read_h5ad(shared_data / "lung3cl_celseq2_dropseq.h5ad"), **settings.parts(pp.prepare))
    return prepared, tl.cycle(prepared, **settings.parts(tl.cycle)), settings


def test_order_of_peaks_is_that_of_synchronised_cells(lung):
    found = lung[1]
    assert found.uns["sclatent"]["cycle"]["verdict"] == "cycle"
    stage = peak_order().set_index("gene")["rank"]
    genes = found.var_names.intersection(stage.index)
    assert len(genes) > 30
    assert spearmanr(stage[genes], found.var.loc[genes, "peak"]).statistic > 0.6


def test_cell_lines_do_not_share_out_the_circle(lung):
    prepared, cycle, _ = lung
    angle = cycle.obs["cycle_angle"].to_numpy()
    assert mutual_info_score((angle / (2 * np.pi) * 12).astype(int), prepared.obs["cell_line"]) < 0.2
    wave = np.column_stack([np.ones(len(angle)), np.cos(angle), np.sin(angle)])
    score = cycle.obs["G2M_score"].to_numpy()
    rest = score - wave @ np.linalg.lstsq(wave, score, rcond=None)[0]
    assert 1 - rest.var() / score.var() > 0.62


def test_listed_genes_peak_once(lung):
    var = lung[1].var
    harmonics = lung[1].uns["sclatent"]["cycle"]["harmonics"]
    columns = ["a0", *(f"{letter}{h}" for h in range(1, harmonics + 1) for letter in "ab")]
    curves = basis(harmonics) @ var[columns].to_numpy().T
    for phase in ("S", "G2M"):
        assert second_peak(list_curve(curves, (var["phase"] == phase).to_numpy(), var["r2"].to_numpy())) <= 0.1


@pytest.mark.skipif(
    not os.environ.get("SCLATENT_SLOW"), reason="half a minute (set SCLATENT_SLOW); tests/benchmarks/knob.py tells more"
)
def test_dividing_lines_have_a_knob(lung):
    prepared, cycle, settings = lung
    model = tl.train(prepared, model=settings.models["quick"], seed=0, **settings.parts(tl.train))
    report, _ = tl.knob(prepared, cycle, tl.embed(prepared, model), model, **settings.parts(tl.knob))
    assert report["verdict"] == "cell-cycle knob", report["reason"]
    held = report["held_out"]
    assert held["n"] == 97
    assert held["share_within"] >= 0.8
    assert held["p"] < 0.01
    assert report["literature"]["spearman"] > 0.6
    # the lines stay apart when the cycle is held still, and the scores can hardly be told any more
    assert report["neutral"]["labels"]["cell_line"]["after"] > 0.95
    assert report["neutral"]["G2M_score_r2"]["after"] < 0.4 * report["neutral"]["G2M_score_r2"]["before"]


def test_blood_has_neither_cycle_nor_knob(shared_data, make_settings):
    prepared, settings = ad.read_h5ad(shared_data / "pbmc_ifnb_two_batches.h5ad"), make_settings()
    cycle = tl.cycle(prepared, **settings.parts(tl.cycle))
    facts = cycle.uns["sclatent"]["cycle"]
    assert facts["verdict"] == "no cycle"
    assert "common angle" in facts["reason"]
    assert cycle.obs["S_score"].notna().all()
    assert cycle.obs["phase"].isna().all()
    assert cycle.obs["cycle_angle"].isna().all()
    assert not cycle.obs["cycling"].any()
    # no model is asked, whatever it holds
    latent, model = (
        ad.AnnData(np.zeros((prepared.n_obs, 1), np.float32), obs=prepared.obs[[]]),
        SimpleNamespace(vae=None, card={}),
    )
    report, knob = tl.knob(prepared, cycle, latent, model, **settings.parts(tl.knob))
    assert (report["verdict"], report["reason"]) == ("no cell-cycle knob", facts["reason"])
    assert not knob.uns["sclatent"]["knob"]["is_knob"]
