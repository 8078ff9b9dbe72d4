# Figures: one folder per rule, each figure as PNG (in the report) and PDF.


rule plot_qc:
    input:
        prepared="results/{dataset}/prepared.h5ad",
    output:
        figures=report(
            directory("results/{dataset}/figures/qc"),
            patterns=["{figure}.png"],
            caption="../report/qc.rst",
            category="1 Cells and genes",
            labels={"dataset": "{dataset}", "figure": "{figure}"},
        ),
    log:
        "logs/{dataset}/plot_qc.log",
    benchmark:
        "benchmarks/{dataset}/plot_qc.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 20),
        runtime=minutes(20, 0.05),
    params:
        version=VERSIONS["plot_qc"],
    message:
        "{wildcards.dataset}: drawing the quality control"
    script:
        "../scripts/plot_qc.py"


rule plot_cycle:
    input:
        prepared="results/{dataset}/prepared.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
    output:
        figures=report(
            directory("results/{dataset}/figures/cycle"),
            patterns=["{figure}.png"],
            caption="../report/cycle.rst",
            category="2 Cell cycle",
            labels={"dataset": "{dataset}", "figure": "{figure}"},
        ),
    log:
        "logs/{dataset}/plot_cycle.log",
    benchmark:
        "benchmarks/{dataset}/plot_cycle.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 20),
        runtime=minutes(20, 0.05),
    params:
        version=VERSIONS["plot_cycle"],
    message:
        "{wildcards.dataset}: drawing the cell cycle"
    script:
        "../scripts/plot_cycle.py"


rule plot_axes:
    input:
        selected="results/{dataset}/{model}/selected.json",
        latents=per_seed("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        axes=per_seed("results/{dataset}/{model}/seed-{seed}/axes.tsv"),
        map="results/{dataset}/{model}/map.h5ad",
        traversals="results/{dataset}/{model}/traversals.h5ad",
        stability="results/{dataset}/{model}/stability.tsv",
    output:
        figures=report(
            directory("results/{dataset}/{model}/figures/axes"),
            patterns=["{figure}.png"],
            caption="../report/axes.rst",
            category="4 Axes",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "figure": "{figure}",
            },
        ),
    log:
        "logs/{dataset}/{model}/plot_axes.log",
    benchmark:
        "benchmarks/{dataset}/{model}/plot_axes.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 20),
        runtime=minutes(20, 0.05),
    params:
        version=VERSIONS["plot_axes"],
    message:
        "{wildcards.dataset}: drawing the axes of {wildcards.model}"
    script:
        "../scripts/plot_axes.py"


rule plot_traversals:
    input:
        selected="results/{dataset}/{model}/selected.json",
        axes=per_seed("results/{dataset}/{model}/seed-{seed}/axes.tsv"),
        traversals="results/{dataset}/{model}/traversals.h5ad",
    output:
        figures=report(
            directory("results/{dataset}/{model}/figures/traversals"),
            patterns=["{figure}.png"],
            caption="../report/traversals.rst",
            category="5 Traversals",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "figure": "{figure}",
            },
        ),
    log:
        "logs/{dataset}/{model}/plot_traversals.log",
    benchmark:
        "benchmarks/{dataset}/{model}/plot_traversals.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 20),
        runtime=minutes(20, 0.05),
    params:
        version=VERSIONS["plot_traversals"],
    message:
        "{wildcards.dataset}: drawing the traversals of {wildcards.model}"
    script:
        "../scripts/plot_traversals.py"


rule plot_knob:
    input:
        verdict="results/{dataset}/{model}/knob.json",
        knob="results/{dataset}/{model}/knob.h5ad",
        traversals="results/{dataset}/{model}/traversals.h5ad",
        selected="results/{dataset}/{model}/selected.json",
        latents=per_seed("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        map="results/{dataset}/{model}/map.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
    output:
        figures=report(
            directory("results/{dataset}/{model}/figures/knob"),
            patterns=["{figure}.png"],
            caption="../report/knob.rst",
            category="6 Cell-cycle knob",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "figure": "{figure}",
            },
        ),
    log:
        "logs/{dataset}/{model}/plot_knob.log",
    benchmark:
        "benchmarks/{dataset}/{model}/plot_knob.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(3000, 20),
        runtime=minutes(20, 0.05),
    params:
        version=VERSIONS["plot_knob"],
    message:
        "{wildcards.dataset}: drawing the knob of {wildcards.model}"
    script:
        "../scripts/plot_knob.py"


rule plot_models:
    input:
        models="results/{dataset}/models.tsv",
        metrics=per_model_and_seed("results/{dataset}/{model}/seed-{seed}/metrics.json"),
        histories=per_model_and_seed(
            "results/{dataset}/{model}/seed-{seed}/history.tsv"
        ),
        axes=per_model_and_seed("results/{dataset}/{model}/seed-{seed}/axes.tsv"),
    output:
        figures=report(
            directory("results/{dataset}/figures/models"),
            patterns=["{figure}.png"],
            caption="../report/models.rst",
            category="3 Models",
            labels={"dataset": "{dataset}", "figure": "{figure}"},
        ),
    log:
        "logs/{dataset}/plot_models.log",
    benchmark:
        "benchmarks/{dataset}/plot_models.tsv"
    retries: RETRIES
    localrule: True
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(2000, 5),
        runtime=minutes(10),
    params:
        version=VERSIONS["plot_models"],
    message:
        "{wildcards.dataset}: drawing the comparison of models"
    script:
        "../scripts/plot_models.py"
