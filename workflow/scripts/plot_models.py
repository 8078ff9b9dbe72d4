from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    figures = sl.pl.models(
        bridge.read_table(job.input.models),
        job.by_run(job.input.metrics, bridge.read_json),
        job.by_run(job.input.histories, bridge.read_table),
        axes=job.by_run(job.input.axes, bridge.read_table),
    )
    sl.pl.save(figures, job.output.figures)
