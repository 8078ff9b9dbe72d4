# What the rules share: the datasets, and functions of the wildcards.
import re
import sys
from pathlib import Path

NEEDS = "0.1.0"  # the version of the package that this workflow is made for

try:
    from sclatent import __version__ as installed
except ImportError:
    installed = None
if installed != NEEDS:
    found = "is not there" if installed is None else f"is of version {installed}"
    checkout = Path(str(workflow.current_basedir)).parents[1]
    known = (checkout / "pyproject.toml").is_file()
    raise SystemExit(
        f"this workflow needs the Python package sclatent {NEEDS}, which {found}: {sys.executable} -m pip install "
        + (f"'{checkout}'" if known else "THE REPOSITORY OF THIS WORKFLOW")
    )

from sclatent.bridge import (
    DEMO_COUNTS,
    VERSIONS,
    check_room,
    for_each,
    memory,
    minutes,
    read_config,
    read_json,
    source_files,
    training_threads,
)
from sclatent.settings import InputError, section_json

try:
    check_room(Path.cwd())
    DATASETS = read_config(config)
except InputError as error:
    raise SystemExit(
        str(error)
    )  # while the workflow is parsed, this prints the line and nothing else

# On one machine a retry has the same memory and fails again; on a cluster a retry asks for more memory and time.
RETRIES = 0 if workflow.resource_settings.nodes is None else 2

TRAIN_THREADS = training_threads(
    workflow.resource_settings.overwrite_threads, default=2
)


def any_of(names):
    return "|".join(re.escape(name) for name in sorted(set(names)))


wildcard_constraints:
    dataset=any_of(DATASETS),
    model=any_of(model for settings in DATASETS.values() for model in settings.models),
    seed=any_of(str(seed) for settings in DATASETS.values() for seed in settings.seeds),


def section(*names, model=False):
    """The named sections of the dataset file, all without a name. A rule passes those that are to run it again, no other."""
    return lambda wildcards: section_json(
        DATASETS[wildcards.dataset],
        *names,
        model=wildcards.model if model else None,
    )


def counts_of_user(wildcards):
    """The files of the user's counts, which stay where they are when this workflow is used as a module with a prefix.

    A file with a `url` is no input: it is fetched by the rule, and its checksum stands for its content.
    """
    return [
        local(file)
        for sample in DATASETS[wildcards.dataset].samples
        if sample.path not in DEMO_COUNTS and sample.url is None
        for file in source_files(sample.path)
    ]


def counts_made(wildcards):
    """The count files that a rule writes."""
    return [
        sample.path
        for sample in DATASETS[wildcards.dataset].samples
        if sample.path in DEMO_COUNTS
    ]


def file_of_user(get):
    """An optional file that the dataset file names."""

    def files(wildcards):
        path = get(DATASETS[wildcards.dataset])
        return [] if path is None else [local(path)]

    return files


def cycle_of_circle(wildcards):
    """The angles at which the training of a circle starts; a model without one has no use for them."""
    latent = DATASETS[wildcards.dataset].models[wildcards.model].latent
    circle = any(part.angles for part in latent.parts)
    return f"results/{wildcards.dataset}/cycle.h5ad" if circle else []


def counts_at_once(wildcards):
    """Megabytes of memory for each megabyte of counts on disk: scrublet takes all counts of a sample at once."""
    return 6 if DATASETS[wildcards.dataset].cells.doublets else 0.6


def devices(wildcards):
    """How many devices train a model together."""
    return DATASETS[wildcards.dataset].models[wildcards.model].devices


def threads_of_training(wildcards):
    """Threads of a training, which its processes share: one for each at least."""
    return max(TRAIN_THREADS, devices(wildcards))


def per_seed(path):
    """`path` for every seed of the model."""
    return lambda wildcards: expand(
        path,
        dataset=wildcards.dataset,
        model=wildcards.model,
        seed=DATASETS[wildcards.dataset].seeds,
    )


def selected(path):
    """`path` for the seed that `select` chose; rules that read it do not depend on the other seeds."""

    def file(wildcards):
        chosen = checkpoints.select.get(
            dataset=wildcards.dataset, model=wildcards.model
        ).output.selected
        return path.format(
            dataset=wildcards.dataset,
            model=wildcards.model,
            seed=read_json(chosen)["seed"],
        )

    return file


def per_model(path):
    """`path` for every model of the dataset."""
    return lambda wildcards: expand(
        path,
        dataset=wildcards.dataset,
        model=DATASETS[wildcards.dataset].models,
    )


def per_model_and_seed(path):
    """`path` for every model and seed of the dataset."""
    return lambda wildcards: expand(
        path,
        dataset=wildcards.dataset,
        model=DATASETS[wildcards.dataset].models,
        seed=DATASETS[wildcards.dataset].seeds,
    )


def everything():
    """Every result of every dataset."""
    of_dataset = [
        "figures/qc",
        "figures/cycle",
        "figures/models",
        "models.tsv",
    ]
    of_model = [
        "figures/axes",
        "figures/traversals",
        "figures/knob",
        "atlas.h5ad",
        "knob.html",
        "stability.tsv",
    ]
    of_gradients = ["gradients.tsv", "gradient_noise.tsv", "figures/gradients"]
    of_samples = ["samples.h5ad", "samples.tsv", "figures/samples"]
    return [
        f"results/{name}/{path}"
        for name, settings in DATASETS.items()
        for path in of_dataset
        + [
            f"{model}/{file}"
            for model in settings.models
            for file in of_model
            + (of_gradients if settings.gradients else [])
            + (of_samples if settings.sample else [])
            + (["atlas.h5mu"] if settings.modalities else [])
            + (["samples.h5mu"] if settings.modalities and settings.sample else [])
        ]
    ]
