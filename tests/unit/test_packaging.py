"""What the files around the package say of its dependencies and its Pythons: all the same, and true of the code."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
DEV = [Requirement(line) for line in PYPROJECT["dependency-groups"]["dev"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
PEERS = EXTRAS["peers"]
TESTED = [wanted for name, extra in EXTRAS.items() if name != "peers" for wanted in extra] + DEV
"""What `make setup` installs beside the library."""
REQUIRES = SpecifierSet(PROJECT["requires-python"])
PYTHONS = [f"3.{minor}" for minor in range(30) if REQUIRES.contains(f"3.{minor}")]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
# modules of a library that its own library holds to one version
PART_OF = {"llvmlite": "numba", "pydantic-core": "pydantic", "lightning": "scvi-tools"}
# peers need not be installed
PEER_MODULES = {"scvi": "scvi-tools", "drvi": "drvi-py", "cyclevi": "cyclevi", "lightning": "scvi-tools"}
check_python = runpy.run_path(str(ROOT / ".ci/check_python.py"))


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def imported(*folders: str) -> set[str]:
    """Return the distributions that the code of `folders` imports, wherever in a file it does."""
    found = set()
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
                found.add(ast.literal_eval(node.args[0]).partition(".")[0])
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"sclatent", "snakemake"}
    owners = importlib.metadata.packages_distributions()
    third_party = found - own - sys.stdlib_module_names
    return {
        PART_OF.get(name, name)
        for module in third_party
        for name in {canonicalize_name(PEER_MODULES.get(module) or owners.get(module, [module])[0])}
    }


def test_the_package_declares_what_it_imports():
    found = imported("src", "workflow")
    assert {"numpy", "fonttools", "scikit-learn", "pyyaml"} <= found  # the search finds something
    assert found <= names(RUNTIME)


def test_the_project_declares_what_its_tests_import():
    found = imported("tests")
    assert {"pytest", "mpmath", "scvi-tools"} <= found
    assert found <= names(RUNTIME) | names(EXTRAS["test"]) | names(EXTRAS["workflow"]) | names(PEERS)


def test_the_site_declares_what_it_is_made_with():
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    owners = importlib.metadata.packages_distributions()
    modules = {conf["html_theme"], *(name.partition(".")[0] for name in conf["extensions"])}
    assert {"furo", "sphinx", "numpydoc", "myst_nb"} == modules
    assert {canonicalize_name(owners[module][0]) for module in modules} <= names(EXTRAS["docs"])


def test_the_library_does_without_snakemake_and_the_tools():
    blocked = {"snakemake", "snakemake_executor_plugin_slurm", "pytest", "mpmath", "numpydoc", "hypothesis"}
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"  # an import of these fails
        "import importlib, pkgutil, sclatent\n"
        "for module in pkgutil.walk_packages(sclatent.__path__, 'sclatent.'): importlib.import_module(module.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_setup_installs_every_extra_but_the_peers():
    extras = ",".join(name for name in EXTRAS if name != "peers")
    assert extras == "workflow,docs,test"
    installs = f"--constraint constraints.txt --editable '.[{extras}]' --group dev"
    assert installs in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert installs in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0]
    flags = " ".join(f"--extra {name}" for name in EXTRAS if name != "peers")
    assert flags in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1]


def test_the_hooks_run_what_lint_runs():
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format", "mypy", "snakefmt"]
    for hook in hooks:
        assert hook["language"] == "system"
        assert f"\t{hook['entry'].removesuffix(' --force-exclude')}" in recipe


def test_a_new_machine_builds_the_site_and_runs_the_tests():
    run = (ROOT / ".ci/run").read_text(encoding="utf-8")
    targets = re.findall(r"^(?:exec )?make --no-print-directory (\S+)$", run, flags=re.MULTILINE)
    assert targets == ["site", "test-cluster", "test"]  # `tables` would write what a test compares
    assert re.search(r"^\.ci/wheel$", run, flags=re.MULTILINE)
    assert "--fail-on-warning" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "torch"), [("sclatent", "pytorch-cpu"), ("training", "torch")])
def test_conda_environments_have_the_bounds_of_the_package(name, torch):
    """The build of PyTorch does not hang on the machine that solves: a CPU build of conda's, or pip's, with CUDA."""
    conda_names = {
        "decoupler": "decoupler-py",
        "igraph": "python-igraph",
        "matplotlib": "matplotlib-base",
        "torch": torch,
    }
    # Snakemake runs outside the environments of its rules
    expected = {conda_names.get(r.name, r.name): r.specifier for r in RUNTIME}
    lines = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text(encoding="utf-8"))["dependencies"]
    by_pip = next((line["pip"] for line in lines if isinstance(line, dict)), [])
    assert [Requirement(line).name for line in by_pip] == (["torch"] if torch == "torch" else [])
    pairs = [line.partition(" ")[::2] for line in lines if isinstance(line, str) and not line.startswith("pip ")]
    pairs += [(r.name, str(r.specifier)) for r in map(Requirement, by_pip)]
    found = {package: SpecifierSet(bound) for package, bound in pairs}
    assert found == expected | {"python": REQUIRES}


def test_the_rules_that_train_take_the_build_of_pytorch_with_cuda():
    rules = (ROOT / "workflow/rules/model.smk").read_text(encoding="utf-8")
    train = rules.partition("\nrule train:")[2].partition("\nrule ")[0]
    assert '"../../envs/training.yaml"' in train


def test_the_container_recipes_agree_with_the_lock():
    """Docker and Apptainer: one base, and what is installed is what constraints.txt pins, by the same command."""
    docker = (ROOT / "containers/Dockerfile").read_text(encoding="utf-8")
    apptainer = (ROOT / "containers/sclatent.def").read_text(encoding="utf-8")
    (base,) = re.findall(r"^FROM (\S+)$", docker, flags=re.MULTILINE)
    assert re.findall(r"^From: (\S+)$", apptainer, flags=re.MULTILINE) == [base]
    assert re.fullmatch(r"python:(\d\.\d+)-slim-bookworm", base)[1] in PYTHONS
    installs = "python -m pip install --no-cache-dir --constraint constraints.txt '.[workflow]'"
    for recipe in (docker, apptainer):
        assert installs in recipe
        for source in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "src"):
            assert re.search(rf"^(COPY|   ).*\b{re.escape(source)}\b", recipe, flags=re.MULTILINE), source
        assert "==" not in recipe  # a version stands in one place
    assert "snakemake-executor-plugin-slurm" in {pin.name for pin in PINS}


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_dependency_once_for_every_python(python):
    linux = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    pins: dict[str, Requirement] = {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(linux):
            assert canonicalize_name(pin.name) not in pins, f"two pins of {pin.name}"
            pins[canonicalize_name(pin.name)] = pin
    for wanted in (*RUNTIME, *TESTED):
        assert canonicalize_name(wanted.name) in pins, f"no pin of {wanted.name}"
        (exact,) = pins[canonicalize_name(wanted.name)].specifier
        assert exact.operator == "=="
        assert wanted.specifier.contains(exact.version), f"{wanted} is pinned to {exact.version}"


def test_every_dependency_has_a_lower_bound():
    for wanted in (*RUNTIME, *(wanted for extra in EXTRAS.values() for wanted in extra)):
        assert [bound.operator for bound in wanted.specifier] == [">="], wanted


def test_supported_pythons_are_the_same_everywhere():
    low, high = PYTHONS[0], PYTHONS[-1]
    assert (low, high) == ("3.11", "3.14")
    classifiers = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    assert classifiers == PYTHONS
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == PYTHONS
    assert f"Python {low} to {high}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {low} to {high}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0]
    assert f"--python-version {low} " in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + low.replace(".", "")
    assert REQUIRES.contains(".".join(map(str, sys.version_info[:2])))


@pytest.mark.parametrize("version", [(2, 7), (3, 10, 13), (3, 15, 0), (4, 0)])
def test_another_python_gets_one_line(version):
    line = check_python["other_python"](version)
    assert line.startswith(f"Python 3.11 to 3.14 is needed, this is {version[0]}.{version[1]}: make PYTHON=python3.")
    assert "\n" not in line


def test_each_supported_python_passes_the_check():
    for python in PYTHONS:
        assert check_python["other_python"](tuple(map(int, python.split(".")))) is None


def test_a_python_that_lacks_wheels_asks_for_a_compiler(tmp_path):
    headers = tmp_path / "Python.h"
    no_compiler = check_python["no_compiler"]
    assert no_compiler((3, 13, 0), "no-such-compiler", headers) is None
    assert "needs a C compiler" in no_compiler((3, 14, 0), "no-such-compiler", headers)
    assert str(headers) in no_compiler((3, 14, 0), "sh", headers)
    headers.touch()
    assert no_compiler((3, 14, 0), "sh", headers) is None
    # this holds as long as the pinned immutables is the one that the check speaks of
    said = re.search(r"immutables ([\d.]+)", (ROOT / ".ci/check_python.py").read_text(encoding="utf-8"))
    assert said is not None
    assert [str(pin.specifier) for pin in PINS if pin.name == "immutables"] == [f"=={said[1]}"]
