from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    table = sl.tl.compare(
        job.by_run(job.input.metrics, bridge.read_json),
        job.by_run(job.input.axes, bridge.read_table),
        selected=job.selected_seeds(),
        latents=job.by_run(job.input.latents, bridge.read_h5ad),
        prepared=bridge.read_h5ad(job.input.prepared, names_only=True),
        **job.parts(sl.tl.compare),
    )
    sl.io.write_table(table, job.output.models)
