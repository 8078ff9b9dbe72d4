"""The whole way with latents of other kinds: what follows a circle or shares asks more of its files than of an axis."""

from __future__ import annotations

import sclatent as sl
from sclatent.bridge import read_json


def test_every_file_of_models_with_a_circle_and_with_shares(study):
    sl.io.write_h5ad(sl.simulate(600, 200, seed=1), study / "cells.h5ad")
    small = {"n_hidden": 32, "epochs": 80}
    models = {
        "circle": {"latent": {"gaussian": 3, "circle": 1}, **small},
        "shares": {"latent": "dirichlet", "n_latent": 4, **small},
    }
    study.dataset("tiny", counts="cells.h5ad", batch="batch", models=models, seeds=[0], traverse={"steps": 5})
    study.select("tiny")
    study.ok("--cores", 2)
    assert study.planned() == {}
    for name in models:
        assert list((study / f"results/tiny/{name}/figures/knob").glob("*.png")), name
    # with a knob, as a rule, the plane of the circle is drawn
    if read_json(study / "results/tiny/circle/knob.json")["knob"]:
        assert (study / "results/tiny/circle/figures/knob/cells.png").exists()
