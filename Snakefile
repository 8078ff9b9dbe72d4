# The workflow is workflow/Snakefile; here it is the default when `snakemake` is called beside this file.
# (A plain `include` would build nothing: it resets the default target.)
import os

if os.path.exists("config/config.yaml"):

    # `--config 'datasets=[…]'` does without one, in any folder
    configfile: "config/config.yaml"


module main:
    snakefile:
        "workflow/Snakefile"
    config:
        config


use rule * from main
