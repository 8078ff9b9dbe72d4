from pathlib import Path

from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    trained = sl.tl.TrainedModel.load(Path(job.input.weights).parent)
    knob = bridge.read_h5ad(job.input.knob) if job.input.get("knob") else None
    density = sl.tl.density(bridge.read_h5ad(job.input.counts), trained, knob=knob)
    drawn = sl.tl.sample(trained, density=density, **job.sample.model_dump())
    density.save(job.output.density)
    sl.io.write_h5ad(drawn, job.output.samples)
