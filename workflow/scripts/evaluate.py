import _src
from sclatent import bridge

with bridge.stage(snakemake) as job:
    import sclatent as sl

    prepared = sl.io.read_h5ad(job.input.counts)
    trained = sl.tl.TrainedModel.load(job.folder)
    sl.io.write_json(sl.tl.evaluate(prepared, trained), job.output.metrics)
