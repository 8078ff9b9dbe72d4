from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    selected, stability = sl.tl.select(
        job.by_seed(job.input.metrics, bridge.read_json),
        job.by_seed(job.input.latents, bridge.read_h5ad),
        job.by_seed(job.input.axes, bridge.read_table),
    )
    sl.io.write_json(selected, job.output.selected)
    sl.io.write_table(stability, job.output.stability)
