from pathlib import Path

from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    verdict, knob = sl.tl.knob(
        bridge.read_h5ad(job.input.prepared),
        bridge.read_h5ad(job.input.cycle),
        bridge.read_h5ad(job.input.latent),
        sl.tl.TrainedModel.load(Path(job.input.weights).parent),
        **job.parts(sl.tl.knob),
    )
    sl.io.write_json(verdict, job.output.verdict)
    sl.io.write_h5ad(knob, job.output.knob)
