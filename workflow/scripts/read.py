from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    counts = sl.io.read_dataset(**job.parts(sl.io.read_dataset))
    sl.io.write_h5ad(counts, job.output.counts)
