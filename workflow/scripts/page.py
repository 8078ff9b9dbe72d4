from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    atlas = bridge.read_h5ad(job.input.atlas, names_only=True)
    traversals = bridge.read_h5ad(job.input.traversals)
    sl.pl.page(atlas, traversals, bridge.read_json(job.input.verdict), job.output.page)
