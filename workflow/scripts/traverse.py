from pathlib import Path

from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    traversals = sl.tl.traverse(
        bridge.read_h5ad(job.input.counts),
        bridge.read_h5ad(job.input.cycle),
        bridge.read_h5ad(job.input.latent),
        sl.tl.TrainedModel.load(Path(job.input.weights).parent),
        knob=bridge.read_h5ad(job.input.knob),
        **job.parts(sl.tl.traverse),
    )
    sl.io.write_h5ad(traversals, job.output.traversals)
