"""Logarithms of scaled counts: what numpy gives for the whole matrix, to the bit, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sclatent.data import blocks, normalise


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 7, 8192])
def test_the_same_as_all_at_once(dtype, rows, monkeypatch):
    monkeypatch.setattr(blocks, "_MOST_ROWS", rows)
    counts = sparse.random(40, 15, density=0.3, format="csr", random_state=0, dtype=np.float32)
    counts.data = np.ceil(counts.data * 9)
    factor = np.random.default_rng(0).random(40).astype(dtype)
    found = normalise.log_scaled(counts, factor)
    wanted = np.log1p(counts.toarray() * factor[:, None]).astype(np.float32)
    np.testing.assert_array_equal(found.toarray(), wanted)
    assert found.dtype == np.float32
    assert np.shares_memory(found.indices, counts.indices)
    np.testing.assert_array_equal(normalise.cell_sums(counts), counts.toarray().sum(axis=1, dtype=np.float64))
