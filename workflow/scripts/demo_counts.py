from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    sl.data.write_demo(job.wildcards.name, job.output.counts)
