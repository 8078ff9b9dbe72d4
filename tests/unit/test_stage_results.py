"""A stage that writes other results than it did has another number: see `stage_results`."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from stage_results import STAGES, TABLE, differences, inputs, libraries, results, tell

from sclatent.bridge import VERSIONS

WRITE = "run `python tests/unit/stage_results.py --write`"


@pytest.fixture(scope="module")
def table() -> dict:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def test_every_stage_is_recorded_with_its_number(table):
    assert {*STAGES} == {*VERSIONS}
    recorded = {stage: entry["version"] for stage, entry in table["stages"].items()}
    assert recorded == VERSIONS, f"a number was raised, or a stage is new: {WRITE}"


@pytest.mark.parametrize("stage", STAGES)
def test_other_results_have_another_number(stage, table):
    other = {name: f"{there} instead of {table['libraries'][name]}" for name, there in libraries().items()}
    other = {name: said for name, said in other.items() if said.partition(" ")[0] != table["libraries"][name]}
    if other:
        pytest.skip(f"{TABLE.name} was recorded with other libraries: here is {other}")
    if stage != "demo_counts" and differences(inputs(), table["inputs"]):
        pytest.skip(f"the simulator makes other cells than {TABLE.name} was recorded with: {WRITE}")
    changed = differences(results(stage), table["stages"][stage]["results"])
    assert not changed, (
        f"{stage} does not write what it wrote: {', '.join(changed[:5])}. If this is meant, raise the number of "
        f'"{stage}" in src/sclatent/bridge/versions.py, so that results of users are made anew, and {WRITE}'
    )


def test_what_tells_results_notices_a_change_and_no_last_digit():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "kind": ["a", "b"] * 100, "name": [f"c{i}" for i in range(200)]})
    before = dict(tell(frame))
    assert not differences(dict(tell(frame.assign(x=frame["x"] * (1 + 1e-5)))), before)
    one = frame.copy()
    one.loc[0, "kind"] = "b"
    assert not differences(dict(tell(one)), before)
    for other in (
        frame.assign(x=frame["x"] * 1.01),
        frame.assign(x=frame["x"].to_numpy()[::-1]),
        frame.assign(x=frame["x"].where(frame.index > 0)),
        frame.assign(kind="a"),
        frame.assign(name=frame["name"].to_numpy()[::-1]),
        frame.assign(more=1),
        frame.drop(columns="x"),
        frame[:-1],
    ):
        assert differences(dict(tell(other)), before)
