"""The page in a real, headless Chromium: it is turned, searched, and looked at for errors and for requests."""

import json
import os
import re

import numpy as np
import pandas as pd
import pl_arrays
import pytest
from browser import Browser, missing

import sclatent as sl
from sclatent.data import slots
from sclatent.data.colors import CATEGORIES
from sclatent.pl._paths import path

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"needs a browser: {missing()}")

EVIL = "<img src=x onerror=window.hacked=1>{{script}}</script><script>window.hacked=1</script>"
LONG = "unassigned_" + "x" * 90


@pytest.fixture(scope="module")
def stages():
    adata = pl_arrays.prepared(500, 120)
    adata.var_names = [EVIL if name == "gene0001" else name for name in adata.var_names]
    adata.obs[slots.CELL_TYPE] = adata.obs[slots.CELL_TYPE].cat.rename_categories({"type1": EVIL, "type2": LONG})
    adata.uns["evil"] = EVIL
    cycle, latent, umap = pl_arrays.cycle(adata), pl_arrays.latent(adata), pl_arrays.umap(adata)
    axes = pl_arrays.axes(adata, latent)
    axes.loc[2, "name"] = EVIL
    adata.obs["barcode_plate"] = pd.Categorical([f"plate{k % 60}" for k in range(adata.n_obs)])
    for k in range(9):
        adata.obs[f"extra{k}"] = pd.Categorical([f"{c % 2}" for c in range(adata.n_obs)])
    atlas = pl_arrays.atlas(adata, cycle, latent, umap, axes)
    atlas.uns[f"{slots.CELL_TYPE}_colors"] = CATEGORIES[:4]
    return adata, atlas


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(stages, browser, tmp_path_factory):
    adata, atlas = stages
    file = tmp_path_factory.mktemp("page") / "knob.html"
    knob = pl_arrays.knob(adata) | {"reason": f"it turns {EVIL}"}
    sl.pl.page(atlas, pl_arrays.traversals(adata), knob, file)
    browser.open(file)
    browser.settle()
    return file


def choose(browser, number):
    browser.run(
        "const s = document.getElementById('path'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
        str(number),
    )
    browser.settle()
    browser.settle()


def slide(browser, value):
    browser.run(
        "const s = document.getElementById('slider'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
        str(value),
    )
    browser.settle()


def state(browser):
    return {
        "position": browser.value("document.getElementById('position').textContent"),
        "dot": browser.value("document.getElementById('map').dataset.dot"),
        "scores": browser.value("[...document.querySelectorAll('.dials .value')].map((n) => n.textContent)"),
        "bars": browser.value("[...document.getElementById('bars').data[0].x]"),
        "line": browser.value("document.getElementById('curves').layout.shapes.at(-1).x0"),
        "ring": browser.value("document.getElementById('ring').getAttribute('aria-valuenow')"),
    }


def test_the_page_shows_the_decoded_numbers_of_a_step(browser, page, stages):
    adata, _ = stages
    choose(browser, 0)
    slide(browser, 1000 * 5 / 21)
    view = path(pl_arrays.traversals(adata), "cycle")
    found = state(browser)
    expected = [view.s_score[5], view.g2m_score[5]]
    assert [float(text.replace("−", "-")) for text in found["scores"]] == pytest.approx(expected, abs=0.01)
    top = view.in_order(view.changing(20))[::-1]
    assert found["bars"] == pytest.approx(view.log_change()[5, top].tolist(), abs=0.03)
    assert found["line"] == pytest.approx(2 * np.pi * 5 / 21, abs=0.01)


def test_everything_moves_with_the_slider(browser, page):
    choose(browser, 0)
    slide(browser, 100)
    before = state(browser)
    slide(browser, 600)
    after = state(browser)
    assert all(before[key] != after[key] for key in before), (before, after)


def test_keys_turn_the_ring_round_the_end(browser, page):
    choose(browser, 0)
    browser.keys("#ring", "home")
    assert float(state(browser)["ring"]) == 0.0
    browser.keys("#ring", "left")
    assert float(state(browser)["ring"]) == pytest.approx(2 * np.pi * 0.99, abs=0.01)
    browser.keys("#ring", "right", "right")
    assert float(state(browser)["ring"]) == pytest.approx(2 * np.pi * 0.01, abs=0.01)
    browser.keys("#slider", "home", "right", "right")
    assert browser.value("document.getElementById('slider').value") == "2"
    assert "rad" in browser.value("document.getElementById('slider').getAttribute('aria-valuetext')")


def test_the_ring_is_dragged(browser, page):
    choose(browser, 0)
    # from the top to the right is a quarter of a turn
    browser.drag("#ring", (0, -90), (90, 0))
    assert float(state(browser)["ring"]) == pytest.approx(np.pi / 2, abs=0.03)


def test_an_axis_is_turned_and_its_empty_steps_are_told(browser, page):
    choose(browser, 1)
    slide(browser, 500)
    assert browser.value("document.getElementById('unsupported').hidden")
    assert "axis_1" in state(browser)["position"]
    facts = browser.value("document.getElementById('facts').textContent")
    assert "2.50 nats" in facts
    assert "S_score, which explains 80%" in facts
    slide(browser, 1000)
    assert not browser.value("document.getElementById('unsupported').hidden")
    assert browser.value("document.getElementById('app').classList.contains('guess')")


def test_a_gene_is_searched_added_and_removed(browser, page, stages):
    choose(browser, 0)
    curves = "document.getElementById('curves').data.length"
    before = browser.value(curves)
    gene = stages[0].var_names[stages[0].var_names.str.startswith("gene")][-1]
    browser.keys("#gene", gene.upper(), "enter")
    assert browser.value("document.getElementById('gene-message').textContent") == f"{gene} added."
    # a line and its band
    assert browser.value(curves) == before + 2
    browser.keys("#gene", "nosuchgene", "enter")
    assert "no gene “nosuchgene”" in browser.value("document.getElementById('gene-message').textContent")
    assert browser.value(curves) == before + 2
    browser.run("document.getElementById('gene').value = ''")
    browser.click(f"[aria-label='Remove {gene}']")
    assert browser.value(curves) == before


def test_playing_turns_and_stops(browser, page):
    choose(browser, 0)
    start = state(browser)["ring"]
    browser.click("#play")
    browser.wait(f"document.getElementById('ring').getAttribute('aria-valuenow') !== '{start}'")
    browser.click("#play")
    assert browser.value("document.getElementById('play').textContent") == "Play"


def test_cells_are_coloured_by_a_column(browser, page):
    choose(browser, 0)
    names = browser.value("[...document.getElementById('color').options].map((o) => o.textContent)")
    assert names[:3] == ["what is turned", "phase", "leiden"]
    # the columns that the dataset file names have colours; they come before others
    assert names[3] == slots.CELL_TYPE
    assert len(names) == 1 + 8
    told = browser.value("document.getElementById('color-help').textContent")
    assert told.startswith("No colours here for barcode_plate (60 levels, 40 at most), extra")
    assert told.endswith("(8 columns at most). The atlas holds them.")
    browser.run("const s = document.getElementById('color'); s.value = '0'; s.dispatchEvent(new Event('change'))")
    browser.settle()
    legend = browser.value("[...document.querySelectorAll('#legend li')].map((n) => n.textContent)")
    assert legend[:3] == ["G1", "S", "G2M"]


def test_names_are_only_ever_names(browser, page):
    """Axis, gene and category names that are code are shown as text, and not run."""
    for number in range(browser.value("document.getElementById('path').options.length")):
        choose(browser, number)
    browser.keys("#gene", "<img", "enter")
    assert "<img src=x" in browser.value("document.getElementById('gene-message').textContent")
    browser.run("document.getElementById('gene').value = arguments[0]", EVIL)
    browser.click("#search button")
    assert EVIL in browser.value("[...document.querySelectorAll('#chips span')].map((n) => n.textContent)")
    colors = browser.value("document.getElementById('color').options.length")
    for number in range(colors - 1):
        browser.run(
            "const s = document.getElementById('color'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
            str(number),
        )
        browser.settle()
    assert EVIL in browser.value("document.getElementById('reason').textContent")
    assert browser.value("window.hacked === undefined")
    assert browser.value("document.querySelectorAll('img').length") == 0


def test_every_control_has_a_name(browser, page):
    unnamed = browser.value(
        "[...document.querySelectorAll('select, input, button, [role=slider], canvas')].filter((n) => "
        "!n.labels?.length && !n.getAttribute('aria-label') && !n.textContent.trim()).map((n) => n.id)"
    )
    assert unnamed == []


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_sticks_out_at_any_width(browser, page, width):
    browser.size(width, 844)
    choose(browser, 0)
    browser.run(
        "const s = document.getElementById('color'), names = [...s.options].map((o) => o.textContent);"
        "s.selectedIndex = names.indexOf(arguments[0]); s.dispatchEvent(new Event('change'))",
        slots.CELL_TYPE,
    )
    browser.settle()
    assert LONG in browser.value("document.getElementById('legend').textContent")
    assert browser.value("document.documentElement.scrollWidth") <= width
    outside = browser.value(
        "[...document.querySelectorAll('main section, main canvas, main select, .plot, .dials svg')]"
        ".map((n) => n.getBoundingClientRect())"
        ".filter((b) => b.right > innerWidth + 1 || b.left < -1 || b.width < 20).length"
    )
    assert outside == 0
    if os.environ.get("SCLATENT_SCREENSHOTS"):
        browser.screenshot(page.with_name(f"page-{width}.png"))


def test_a_reason_is_given_once(browser, stages, tmp_path):
    adata, atlas = stages
    atlas = atlas.copy()
    reason = pl_arrays.NO_KNOB["reason"]
    atlas.uns[slots.UNS] = dict(atlas.uns[slots.UNS]) | {"cycle": {"verdict": "no cycle", "reason": reason}}
    file = sl.pl.page(atlas, pl_arrays.traversals(adata, cycle=False), pl_arrays.NO_KNOB, tmp_path / "once.html")
    browser.open(file)
    assert browser.value("document.querySelector('header').innerText").count(reason) == 1
    assert browser.value("document.getElementById('cycle').textContent") == "Cell cycle: no cycle."


def test_peaks_are_called_peaks(browser, stages, tmp_path):
    adata, atlas = stages
    traversals = pl_arrays.traversals(adata)
    table = pd.DataFrame({"called": ["chr1:1-900", "chr2:5-700"]}, index=["chr1:1-900", "chr2:5-700"])
    traversals.uns[slots.UNS] = {slots.UNS_MODALITIES: {"atac": table}}
    rng = np.random.default_rng(0)
    traversals.obsm["atac"] = rng.random((traversals.n_obs, 2)).astype(np.float32)
    traversals.obsm["atac_sd"] = np.full((traversals.n_obs, 2), 0.1, dtype=np.float32)
    browser.open(sl.pl.page(atlas, traversals, pl_arrays.knob(adata), tmp_path / "peaks.html"))
    browser.settle()
    words = browser.value("document.querySelector('main').innerText")
    assert "Genes and peaks that change most" in words
    assert "Curves of chosen genes and peaks" in words
    browser.keys("#gene", "chr1:1-900", "enter")
    assert "chr1:1-900" in browser.value("[...document.querySelectorAll('#chips span')].map((n) => n.textContent)")
    browser.keys("#gene", "nosuch", "enter")
    assert "no gene or peak “nosuch”" in browser.value("document.getElementById('gene-message').textContent")


def test_no_knob_is_a_page_too(browser, stages, tmp_path):
    adata, atlas = stages
    file = sl.pl.page(atlas, pl_arrays.traversals(adata, cycle=False), pl_arrays.NO_KNOB, tmp_path / "none.html")
    browser.open(file)
    browser.settle()
    assert browser.value("document.getElementById('verdict').textContent").strip() == "No cell-cycle knob"
    assert "3 of 600 cells" in browser.value("document.getElementById('reason').textContent")
    before = state(browser)
    slide(browser, 100)
    assert state(browser) != before


def test_scores_that_are_not_known_have_no_dials(browser, stages, tmp_path):
    adata, atlas = stages
    traversals = pl_arrays.traversals(adata, cycle=False)
    traversals.obs[[slots.S_SCORE, slots.G2M_SCORE]] = np.nan
    file = sl.pl.page(atlas, traversals, pl_arrays.NO_KNOB, tmp_path / "scoreless.html")
    browser.open(file)
    browser.settle()
    assert browser.value("document.getElementById('scores-panel').getBoundingClientRect().height") == 0
    assert browser.value("document.getElementById('bars').data[0].x.length") > 0


def test_no_axis_is_a_page_too(browser, stages, tmp_path):
    adata, atlas = stages
    file = sl.pl.page(atlas, pl_arrays.traversals(adata)[:0].copy(), pl_arrays.NO_KNOB, tmp_path / "nothing.html")
    browser.open(file)
    assert "nothing to turn" in browser.value("document.getElementById('trouble').textContent")


def test_axes_beyond_the_budget_are_named(browser, stages, tmp_path):
    adata, atlas = stages
    traversals = pl_arrays.traversals(adata)
    whole = sl.pl.page(atlas, traversals, pl_arrays.knob(adata), tmp_path / "whole.html").stat().st_size
    limit = whole - 5_000
    file = sl.pl.page(atlas, traversals, pl_arrays.knob(adata), tmp_path / "part.html", max_bytes=limit)
    assert file.stat().st_size <= limit
    browser.open(file)
    words = browser.value("document.getElementById('left-out').textContent")
    assert re.search(r"Left out to keep this file small: .*axis_5.*\. traversals\.h5ad holds (it|them)\.", words)
    shown = browser.value("[...document.getElementById('path').options].map((o) => o.textContent)")
    assert shown[0].startswith("Cell cycle")
    assert not any("axis_5" in name for name in shown)


def test_weak_axes_are_counted_not_shown(browser, stages, tmp_path):
    adata, atlas = stages
    atlas = atlas.copy()
    about = dict(atlas.uns[slots.UNS])
    about["axes"] = about["axes"].assign(strength=["strong", "weak", "strong", "weak", "strong", "inactive"])
    atlas.uns[slots.UNS] = about
    file = sl.pl.page(atlas, pl_arrays.traversals(adata), pl_arrays.knob(adata), tmp_path / "weak.html")
    browser.open(file)
    browser.settle()
    shown = browser.value("[...document.getElementById('path').options].map((o) => o.textContent)")
    assert not any("axis_2" in name or "axis_4" in name for name in shown)
    assert len(shown) == 1 + 3
    told = browser.value("document.getElementById('weak').textContent")
    assert told.startswith("Left out on purpose: 2 weak axes (information below ")
    assert told.endswith("end to end). traversals.h5ad holds every active axis.")


def test_no_error_and_no_request(browser, page):
    """Last of all: what the pages above wrote to the console and asked for."""
    assert browser.console() == []
    asked = browser.requests()
    assert asked
    assert all(address.startswith(("file:", "data:", "blob:")) for address in asked), json.dumps(asked)
