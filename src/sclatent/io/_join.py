"""Several samples stacked over their genes, which are told by id where there are ids and never by their order."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sclatent.data import slots
from sclatent.data.blocks import CountStore, row_blocks
from sclatent.data.gene_ids import raw_ids, strip_version
from sclatent.io._counts import tidy, unique
from sclatent.settings import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = logging.getLogger(__name__)

_SUFFIXED = re.compile(r"(.+)[-.]\d{1,2}")
"""As scanpy (``TBCE-1``) and R (``TBCE.1``) tell repeated names apart."""


def join_samples(samples: list[AnnData], names: list[str], join: str, file: str, *, what: str = "gene") -> AnnData:
    """Stack samples over their common genes, or over all of them.

    Genes are matched by id without version where every sample has ids, whatever the column is called; else by name.

    Parameters
    ----------
    samples
        What `read_counts` returns for each.
    names
        What each sample is called.
    join
        ``inner``: common genes, or ``outer``: all.
    file
        What messages call the place of the settings.
    what
        What a column of the counts is: a ``gene`` or a ``peak``.

    Raises
    ------
    InputError
        If the samples have no gene in common; if there are no ids and a name that occurs more than once in a sample,
        whose genes are in another order, could be any of them.
    """
    import pandas as pd
    from anndata import AnnData

    keys, by = _keys(samples, names, file, what)
    genes = keys[0]
    for other in keys[1:]:
        genes = genes[genes.isin(other)] if join == "inner" else genes.append(other[~other.isin(genes)])
    log.info("%d samples joined by %s %s: %d %ss (%s)", len(samples), what, by, len(genes), what, join)
    _tell_losses(samples, names, keys, genes, by, join, what)

    stacked, tables = CountStore(len(genes)), []
    for name, adata, key in zip(names, samples, keys, strict=True):
        to = genes.get_indexer(key)
        for _, block in row_blocks(adata.X):
            stacked.append(_placed(block, to, len(genes)))
        obs = adata.obs.copy()
        obs.index = pd.Index([f"{barcode}-{name}" for barcode in obs.index], dtype=object)
        tables.append(obs)
    # the first sample that has a gene describes it
    var = pd.concat([a.var.set_axis(key) for a, key in zip(samples, keys, strict=True)])
    called = pd.Series(np.concatenate([a.var_names for a in samples]), index=var.index)
    first = ~var.index.duplicated()
    var = var[first].loc[genes].set_axis(called[first].loc[genes].to_numpy())
    var = tidy(var, file, "var")
    var.index = pd.Index(unique(list(var.index)), dtype=object)
    obs = tidy(pd.concat(tables), file, "obs")
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()][0]
        raise InputError(f"{file}: counts: joining makes the cell name '{twice}' twice: choose other sample names")
    return AnnData(stacked.matrix(), obs=obs, var=var)


def _placed(block: sparse.csr_matrix, to: np.ndarray, n_genes: int) -> sparse.csr_matrix:
    """Return rows with every gene at its place `to` among those of all samples; those that have none (-1) go."""
    block = block[:, np.flatnonzero(to >= 0)]
    block = sparse.csr_matrix((block.data, to[to >= 0][block.indices], block.indptr), shape=(block.shape[0], n_genes))
    block.sort_indices()
    return block


def _keys(samples: list[AnnData], names: list[str], file: str, what: str) -> tuple[list[pd.Index], str]:
    """Return what each sample's genes are matched by, and what to call it."""
    by_id = _id_keys(samples, names, file)
    if by_id is not None and _common(by_id):
        return by_id, "id"
    by_name = _name_keys(samples, names, file)
    if not _common(by_name):
        shown = ", ".join(f"{name}: '{a.var_names[0]}'" for name, a in zip(names[:2], samples, strict=False))
        if what == "peak":
            raise InputError(
                f"{file}: modalities.atac.counts: the samples have no peak in common ({shown}, …): call the peaks of "
                "all samples together, and count each sample in these"
            )
        raise InputError(
            f"{file}: counts: the samples have no gene in common ({shown}, …): do they use the same names?"
        )
    return by_name, "name"


def _common(keys: list[pd.Index]) -> bool:
    return len(set.intersection(*map(set, keys))) > 0


def _id_keys(samples: list[AnnData], names: list[str], file: str) -> list[pd.Index] | None:
    """Return ids, without versions, where every sample has them for most genes and each but once.

    A gene without an id goes by its name. Ids that only their version tells apart in one of the samples keep it in all.
    """
    import pandas as pd

    written = [raw_ids(a.var) for a in samples]
    if any(2 * sum(map(bool, ids)) < len(ids) for ids in written):
        return None
    versions: set[str] = set()
    for name, ids in zip(names, written, strict=True):
        apart = {gene for gene, n in Counter(map(strip_version, filter(None, dict.fromkeys(ids)))).items() if n > 1}
        if apart:
            log.warning(
                "%s: %d id(s) occur in several versions in sample '%s', such as %s: they are kept apart, and matched "
                "by the id with its version",
                file,
                len(apart),
                name,
                ", ".join(i for i in ids if strip_version(i) == min(apart)),
            )
            versions |= apart
    keys = []
    for adata, ids in zip(samples, written, strict=True):
        bare = [i if strip_version(i) in versions else strip_version(i) for i in ids]
        key = pd.Index([i or str(name) for i, name in zip(bare, adata.var_names, strict=True)], dtype=object)
        if not key.is_unique:
            log.info("an id occurs more than once (%s): samples are not joined by id", key[key.duplicated()][0])
            return None
        keys.append(key)
    return keys


def _name_keys(samples: list[AnnData], names: list[str], file: str) -> list[pd.Index]:
    """Return the names, if each of them means one gene, or if all samples list the same genes in the same order."""
    import pandas as pd

    keys = [pd.Index(a.var_names.astype(str), dtype=object) for a in samples]
    if all(key.equals(keys[0]) for key in keys[1:]):
        return keys
    repeated = [set(map(str, a.uns[slots.UNS][slots.UNS_READ].get("repeated_names", ()))) for a in samples]
    for i, twice in enumerate(repeated):
        for j, key in enumerate(keys):
            both = sorted(twice & set(key)) if i != j else []
            if both:
                listed = ", ".join(f"'{name}'" for name in both[:5]) + (", …" if len(both) > 5 else "")
                raise InputError(
                    f"{file}: counts: {len(both)} gene name(s) occur more than once in sample "
                    f"'{names[i]}' and are in sample '{names[j]}', too, whose genes are "
                    f"in another order ({listed}): they cannot be told apart: give files with gene ids (such as "
                    "the var column `gene_ids`) in every sample, or name each gene once"
                )
    common = set.intersection(*map(set, keys))
    suffixed = sorted(name for name in common if (found := _SUFFIXED.fullmatch(name)) and found.group(1) in common)
    if suffixed:
        log.warning(
            "%d gene name(s) such as '%s' look as if a suffix told repeated symbols apart, in the order of their file: "
            "the samples list their genes in another order, and without ids these may be mixed up",
            len(suffixed),
            suffixed[0],
        )
    return keys


def _tell_losses(
    samples: list[AnnData], names: list[str], keys: list[pd.Index], genes: pd.Index, by: str, join: str, what: str
) -> None:
    """Say how many genes an inner join loses, and which symbols an outer one holds twice because ids differ."""
    smallest = min(len(key) for key in keys)
    if join == "inner":
        lost = ", ".join(
            f"{len(key) - len(genes)} of {len(key)} in {name}"
            for name, key in zip(names, keys, strict=True)
            if len(key) > len(genes)
        )
        if lost:
            say = log.warning if len(genes) < smallest / 2 else log.info
            say(
                "only %d %ss are common to all samples; the smallest sample has %d; lost: %s",
                len(genes),
                what,
                smallest,
                lost,
            )
    if by != "id":
        return
    kept = set(genes)
    places: dict[str, set[str]] = {}
    for adata, key in zip(samples, keys, strict=True):
        for name, gene in zip(adata.var_names, key, strict=True):
            places.setdefault(str(name), set()).add(gene)
    several = {name: ids for name, ids in places.items() if len(ids) > 1}
    if join == "inner":
        everywhere = set.intersection(*(set(map(str, a.var_names)) for a in samples))
        gone = sorted(name for name, ids in several.items() if name in everywhere and not ids & kept)
        if gone:
            log.warning(
                "%d gene(s) are lost although every sample has the name, because the ids differ, such as %s (%s)",
                len(gone),
                gone[0],
                ", ".join(sorted(several[gone[0]])),
            )
    elif several:
        name = min(several)
        log.warning(
            "%d gene name(s) belong to more than one id, such as %s (%s): they are kept as genes of their own",
            len(several),
            name,
            ", ".join(sorted(several[name])),
        )
