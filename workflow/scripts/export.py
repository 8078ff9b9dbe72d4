from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    atlas = sl.atlas.build(
        sl.io.read_h5ad(job.input.prepared),
        sl.io.read_h5ad(job.input.cycle),
        sl.io.read_h5ad(job.input.latent),
        sl.io.read_h5ad(job.input.map),
        bridge.read_table(job.input.axes),
        name=job.name,
        config=job.params.file,
        **job.parts(sl.atlas.build),
        card=bridge.read_json(job.input.card)["trained"],
        metrics=bridge.read_json(job.input.metrics),
        knob=sl.io.read_h5ad(job.input.knob),
        stability=bridge.read_table(job.input.stability),
    )
    sl.io.write_h5ad(atlas, job.output.atlas)
