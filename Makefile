# make demo   set-up, then the whole pipeline on the two embedded datasets
# make test   the same set-up, then lint, type check and all tests
# make test-cluster   the workflow's Slurm profile on a Slurm of the tests' own
# make docs   the tables that are made from the code, then the documentation site
# PYTHON=python3.13 picks the Python of a new .venv
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := --cores all --config 'datasets=[config/datasets/demo.yaml,config/datasets/pbmc68k.yaml]'
# The package is imported from here whatever else the shell points Python at, and its bytecode is kept for the next job.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
# No job imports these modules, half of all there are. pip would compile them too, and everything on one core.
UNUSED := /(tests?|testing|sympy|plotly|statsmodels|networkx|_inductor|_dynamo|mypyc?|pip|setuptools)/
# two test processes share two cores; a parallel function of numba would give PyTorch as many threads as there are cores
ONE_THREAD := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-cluster lint setup docs tables site coverage bench-large clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) .ci/check_python.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet 'pip>=25.1'   # dependency groups
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[workflow,docs,test]' --group dev
	$(BIN)/python -m compileall -q -j 0 -x '$(UNUSED)' .venv/lib >/dev/null || true   # as with pip, a module that does not compile is no error
	touch $@

demo: $(READY)
	snakemake --quiet reason host $(DEMO)
	@if [ ! -e report.zip ] || [ -n "$$(find results -name '*.tsv' -newer report.zip -print -quit)" ] \
	  || [ -n "$$(find results -name '*.png' -newer report.zip -print -quit)" ]; then \
	  echo "writing the report"; snakemake --report report.zip $(DEMO) >logs/report.log 2>&1 || { cat logs/report.log; exit 1; }; fi
	@for dataset in demo pbmc68k; do \
	  for path in results/$$dataset/*/atlas.h5ad results/$$dataset/*/knob.html results/$$dataset/figures results/$$dataset/*/figures; do echo "$$path"; done; done
	@echo report.zip

test: $(READY) lint
	$(ONE_THREAD) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# the demo's kind of run through a Slurm of its own; needs slurmctld, slurmd and munged
test-cluster: $(READY)
	$(ONE_THREAD) pytest tests/cluster

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

docs: tables site

# what is generated from the code, and kept: the schema of the dataset file, and the tables of README.md and docs/randomness.md
tables: $(READY)
	python -c 'from pathlib import Path; from sclatent.settings import write_docs; write_docs(Path("README.md"), Path("workflow/schemas/dataset.schema.json"), Path("docs/randomness.md"))'

# the documentation site: the pages of docs/, the API, and the demo, which is run; a warning is an error
site: $(READY)
	python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env --builder html docs docs/_build/html
	@echo docs/_build/html/index.html

# which lines the tests run; compiled code is not counted
coverage: $(READY)
	$(ONE_THREAD) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
	  --cov --cov-report term:skip-covered --cov-report html:docs/_build/coverage

# time and memory of every rule with 100,000 cells × 10,000 genes; about ten minutes on two cores
bench-large: $(READY)
	python tests/benchmarks/large.py --write docs/scaling.md

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage docs/_build docs/api
