from pathlib import Path

from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    counts = bridge.read_h5ad(job.input.counts)
    trained = sl.tl.TrainedModel.load(Path(job.input.weights).parent)
    variance = sl.tl.gradient_variance(counts, trained, repeats=40, moments=("start", "tenth", "end"))
    sl.io.write_table(variance, job.output.variance)
    sl.io.write_table(sl.tl.gradient_noise(counts, trained), job.output.noise)
