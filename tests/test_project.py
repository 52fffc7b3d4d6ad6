"""The project's own promises: imports run one way, environments agree, import is cheap, notebooks
are stripped.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import nbformat
import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from workbench.errors import DISTRIBUTION, EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "workbench").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# A room imports only from rooms of the lines above its own, and from itself.
LAYERS = [
    ["errors"],
    ["words", "files", "markup"],
    ["tables"],
    ["simulators"],
    ["generators", "metrics"],
    ["batch", "studies"],
    ["report"],
    ["auditing"],
    ["app"],
    ["cli"],
    ["__main__", "__init__"],
]
# Words that say nothing in a debugger: what is made, and of what? The field's names take their place.
VAGUE = {"told", "tie", "made", "asked", "heap", "worth"}
# A parameter of a packaged world: recorded results name it, so it stays as it is.
RECORDED = {"credit_tie"}
CONDA_NAMES = {
    "jupyter_client": "jupyter-client",
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
}
IMPORT_NAMES = {
    "sklearn": "scikit-learn",
    "imblearn": "imbalanced-learn",
    "yaml": "pyyaml",
    "rattler": "py-rattler",
}


def imports(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere in the tree, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    own = path.relative_to(ROOT / "workbench").parts[0].removesuffix(".py")
    for imported in imports(ast.parse(path.read_text())):
        parts = imported.split(".")
        if (
            parts[0] == "workbench"
            and len(parts) > 1
            and parts[1] != own
            and parts[1] != "__version__"
        ):
            assert layer(parts[1]) < layer(own), f"{own} imports {parts[1]}"


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of everything that code binds or reads: variables, parameters, functions,
    attributes, keywords. A test's own name is a sentence, and is left out.
    """
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
            yield line, node.arg
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.alias):
            yield line, node.asname or node.name
        elif hasattr(node, "name") and not str(node.name).startswith("test_"):
            yield line, str(node.name)


def test_names_are_those_of_the_field():
    folders = ("workbench", "benchmarks", "notebooks", "docs", "tests")
    vague = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for line, name in identifiers(ast.parse(path.read_text())):
            if name not in RECORDED and VAGUE & set(name.lower().split("_")):
                vague.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert not vague, "\n".join(["names that say nothing:", *vague])


def declared() -> dict[str, Requirement]:
    """Every requirement of the core and of all extras but the pages', by name."""
    extras = PROJECT["optional-dependencies"]
    lines = list(PROJECT["dependencies"])
    for extra in ("neural", "language", "app", "cluster", "test"):
        lines += extras[extra]
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def test_the_error_names_the_extra_that_brings_a_package():
    for package, extra in EXTRAS.items():
        brought = [Requirement(line).name for line in PROJECT["optional-dependencies"][extra]]
        assert package in brought
    assert PROJECT["name"] == DISTRIBUTION


def conda_specs() -> dict[str, SpecifierSet]:
    """environment.yml by PyPI name; rattler's strict parser refuses what conda would not read."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    specs = {}
    for line in listed:
        if isinstance(line, str):
            name = rattler.MatchSpec(line, strict=True).name.normalized
            specs[CONDA_NAMES.get(name, name)] = SpecifierSet(re.sub(r"^[A-Za-z0-9_-]+", "", line))
        else:
            specs |= {
                r.name: r.specifier
                for r in map(
                    Requirement, (item for item in line["pip"] if not item.startswith("-"))
                )
            }
    return specs


def test_environment_yml_equals_pyproject():
    conda = conda_specs()
    assert conda.pop("python") == SpecifierSet(PROJECT["requires-python"])
    conda.pop("pip")
    assert conda == {name: requirement.specifier for name, requirement in declared().items()}


def test_installed_and_pinned_versions_satisfy_pyproject():
    pinned = {r.name.lower().replace("_", "-"): r for r in map(Requirement, requirement_lines())}
    for name, requirement in declared().items():
        assert requirement.specifier.contains(version(name)), name
        (pin,) = pinned[name].specifier
        assert pin.operator == "==" and requirement.specifier.contains(pin.version), name


def requirement_lines() -> list[str]:
    return [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]


def test_every_import_is_declared():
    names = set(declared())
    sources = [path.read_text() for path in [*MODULES, *(ROOT / "tests").rglob("*.py")]]
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        sources += [
            re.sub(r"(?m)^[%!].*$", "", cell.source) for cell in cells if cell.cell_type == "code"
        ]
    distributions = packages_distributions()
    own = {
        "workbench",
        *(
            path.stem
            for folder in ("tests", "benchmarks", "docs")
            for path in (ROOT / folder).rglob("*.py")
        ),
    }
    for top in {name.split(".")[0] for source in sources for name in imports(ast.parse(source))}:
        if top in sys.stdlib_module_names or top in own:
            continue
        owners = {IMPORT_NAMES.get(top, top).lower()} | {
            owner.lower().replace("_", "-") for owner in distributions.get(top, [])
        }
        assert owners & names, f"{top} is imported but not declared"


def test_import_is_cheap():
    """No heavy package is imported by `import workbench`, and it takes less than 0.3 s."""
    code = (
        "import sys, time; start = time.perf_counter(); import workbench; seconds ="
        " time.perf_counter() - start; heavy = [name for name in ('pandas', 'torch', 'pgmpy',"
        " 'copulas', 'seaborn', 'sklearn') if name in sys.modules]; print(seconds, heavy)"
    )
    seconds, heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_stripped_and_have_one_import_cell(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code if "NBVAL_CHECK_OUTPUT" not in cell.source)
    # nbval takes an output without a count for one of a cell that never ran.
    assert all(cell.execution_count for cell in code if cell.outputs)
    parameters = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1
    assert (
        sum(bool(imports(ast.parse(re.sub(r"(?m)^[%!].*$", "", cell.source)))) for cell in code)
        == 1
    )
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")


def test_the_map_in_contributing_leads_to_files_that_hold_the_names():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = re.findall(r"^\| .+ \| `(workbench/[\w/]+\.py)` \| `(\w+)` \|$", text, re.M)
    assert len(places) >= 10
    for file, name in places:
        defined = set()
        for node in ast.parse((ROOT / file).read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Assign):
                defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
        assert name in defined, f"{file} does not define {name}"


def test_the_core_works_without_the_extras():
    """What the extras bring is hidden: a core generator still runs, another says which extra it
    needs.
    """
    code = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(EXTRAS)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
import workbench as wb
data = wb.load("diabetes")
synthetic = wb.generate("cart", data, seed=0)
print(wb.evaluate(data, synthetic, metrics=["marginals", "c2st"]).rows["metric"].nunique())
try:
    wb.generate("ctgan", data, seed=0)
except wb.InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2",
        f'torch is not installed; pip install "{DISTRIBUTION}[neural]" brings it.',
    ]


def test_published_results_are_as_they_were_written():
    from workbench.batch.results import Results, is_results

    folders = [path.parent for path in (ROOT / "results").rglob("results.json")]
    assert folders
    for folder in folders:
        assert is_results(folder)
        assert not Results(folder).problems(), folder.name
