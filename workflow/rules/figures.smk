# Figures: one folder per kind, each figure as PNG (in the report) and PDF.


rule plot_cells:
    input:
        prepared="results/{dataset}/prepared.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
    output:
        qc=report(
            directory("results/{dataset}/figures/qc"),
            patterns=["{figure}.png"],
            caption="../report/qc.rst",
            category="1 Cells and genes",
            labels={"dataset": "{dataset}", "figure": "{figure}"},
        ),
        cycle=report(
            directory("results/{dataset}/figures/cycle"),
            patterns=["{figure}.png"],
            caption="../report/cycle.rst",
            category="2 Cell cycle",
            labels={"dataset": "{dataset}", "figure": "{figure}"},
        ),
    log:
        "logs/{dataset}/plot_cells.log",
    benchmark:
        "benchmarks/{dataset}/plot_cells.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(750, 0.3),
        runtime=minutes(20, 0.05),
    params:
        version=VERSIONS["plot_cells"],
    message:
        "{wildcards.dataset}: drawing the quality control and the cell cycle"
    script:
        "../scripts/plot_cells.py"


rule plot_model:
    input:
        stability="results/{dataset}/{model}/stability.tsv",
        latent=selected("results/{dataset}/{model}/seed-{seed}/latent.h5ad"),
        axes=selected("results/{dataset}/{model}/seed-{seed}/axes.tsv"),
        map="results/{dataset}/{model}/map.h5ad",
        cycle="results/{dataset}/cycle.h5ad",
        verdict="results/{dataset}/{model}/knob.json",
        knob="results/{dataset}/{model}/knob.h5ad",
        traversals="results/{dataset}/{model}/traversals.h5ad",
    output:
        axes=report(
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
        traversals=report(
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
        knob=report(
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
        "logs/{dataset}/{model}/plot_model.log",
    benchmark:
        "benchmarks/{dataset}/{model}/plot_model.tsv"
    retries: RETRIES
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(1300, 0.4),
        runtime=minutes(15, 0.1),
    params:
        version=VERSIONS["plot_model"],
    message:
        "{wildcards.dataset}: drawing the axes, traversals and knob of {wildcards.model}"
    script:
        "../scripts/plot_model.py"


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
        mem_mb=memory(350, 0),
        runtime=minutes(10),
    params:
        version=VERSIONS["plot_models"],
    message:
        "{wildcards.dataset}: drawing the comparison of models"
    script:
        "../scripts/plot_models.py"


rule plot_gradients:
    input:
        variance="results/{dataset}/{model}/gradients.tsv",
        noise="results/{dataset}/{model}/gradient_noise.tsv",
    output:
        figures=report(
            directory("results/{dataset}/{model}/figures/gradients"),
            patterns=["{figure}.png"],
            caption="../report/gradients.rst",
            category="7 Gradients",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "figure": "{figure}",
            },
        ),
    log:
        "logs/{dataset}/{model}/plot_gradients.log",
    benchmark:
        "benchmarks/{dataset}/{model}/plot_gradients.tsv"
    retries: RETRIES
    localrule: True
    conda:
        "../../envs/sclatent.yaml"
    resources:
        mem_mb=memory(2000, 5),
        runtime=minutes(10),
    params:
        version=VERSIONS["plot_gradients"],
    message:
        "{wildcards.dataset}: drawing the noise of the gradients of {wildcards.model}"
    script:
        "../scripts/plot_gradients.py"
