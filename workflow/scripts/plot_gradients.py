from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    variance, noise = bridge.read_table(job.input.variance), bridge.read_table(job.input.noise)
    figures = {"variance": sl.pl.gradient_variance(variance), "noise": sl.pl.gradient_noise(noise)}
    sl.pl.save(figures, job.output.figures)
