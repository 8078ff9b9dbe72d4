# Cells drawn from the selected model, when the dataset file has a section `sample`.


rule sample:
    input:
        counts="results/{dataset}/model_counts.h5ad",
        weights=selected("results/{dataset}/{model}/seed-{seed}/model.safetensors"),
        columns="results/{dataset}/columns.tsv",
        given=lambda wildcards: (
            [f"results/{wildcards.dataset}/given.tsv"]
            if DATASETS[wildcards.dataset].sample.given
            else []
        ),
        knob=lambda wildcards: (
            [f"results/{wildcards.dataset}/{wildcards.model}/knob.h5ad"]
            if DATASETS[wildcards.dataset].sample.phase is not None
            else []
        ),
    output:
        samples=ensure("results/{dataset}/{model}/samples.h5ad", non_empty=True),
        density=ensure("results/{dataset}/{model}/density.npz", non_empty=True),
    log:
        "logs/{dataset}/{model}/sample.log",
    benchmark:
        "benchmarks/{dataset}/{model}/sample.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 30),
        runtime=minutes(30, 0.1),
    params:
        settings=section("sample"),
        version=VERSIONS["sample"],
    message:
        "{wildcards.dataset}: drawing cells from {wildcards.model}"
    script:
        "../scripts/sample.py"


rule bundle_samples:
    input:
        samples="results/{dataset}/{model}/samples.h5ad",
    output:
        samples=ensure("results/{dataset}/{model}/samples.h5mu", non_empty=True),
    log:
        "logs/{dataset}/{model}/bundle_samples.log",
    benchmark:
        "benchmarks/{dataset}/{model}/bundle_samples.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(800, 30),
        runtime=minutes(15, 0.1),
    params:
        version=VERSIONS["bundle_samples"],
    message:
        "{wildcards.dataset}: joining the modalities of cells drawn from {wildcards.model}"
    script:
        "../scripts/bundle_samples.py"


rule check_samples:
    input:
        counts="results/{dataset}/model_counts.h5ad",
        weights=selected("results/{dataset}/{model}/seed-{seed}/model.safetensors"),
        density="results/{dataset}/{model}/density.npz",
    output:
        table=report(
            ensure("results/{dataset}/{model}/samples.tsv", non_empty=True),
            caption="../report/samples.rst",
            category="7 Drawn cells",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "figure": "table",
            },
        ),
        figures=report(
            directory("results/{dataset}/{model}/figures/samples"),
            patterns=["{figure}.png"],
            caption="../report/samples.rst",
            category="7 Drawn cells",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "figure": "{figure}",
            },
        ),
    log:
        "logs/{dataset}/{model}/check_samples.log",
    benchmark:
        "benchmarks/{dataset}/{model}/check_samples.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 30),
        runtime=minutes(30, 0.05),
    params:
        settings=section("sample"),
        version=VERSIONS["check_samples"],
    message:
        "{wildcards.dataset}: judging cells drawn from {wildcards.model} by held-out ones"
    script:
        "../scripts/check_samples.py"
