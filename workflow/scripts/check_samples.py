from pathlib import Path

from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    counts = bridge.read_h5ad(job.input.counts)
    trained = sl.tl.TrainedModel.load(Path(job.input.weights).parent)
    held_out, training = (counts[(counts.obs["split"] == "test") == unseen] for unseen in (True, False))
    # plain draws, as many as there are to judge by: cells that were set somewhere cannot look like all of them
    density = sl.tl.Density.load(job.input.density)
    drawn = sl.tl.sample(trained, held_out.n_obs, density=density, seed=job.sample.seed)
    table = sl.tl.check_samples(held_out, drawn, training=training)
    sl.io.write_table(table, job.output.table)
    sl.pl.save(sl.pl.samples(held_out, drawn, table), job.output.figures)
