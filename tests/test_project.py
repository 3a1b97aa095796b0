"""The project around the course: what is packaged and pinned, who may import whom, what must never be committed."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {"bitsandbytes", "datasets", "matplotlib", "numpy", "peft", "scipy", "torch", "transformers", "trl"}

# Written so that this file does not match its own patterns.
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(work|root|home/[a-z][\w-]*|Users/\w+|tmp/(venv))\b(?=[/\s\"'`)]|$)")
REGISTRY = re.compile(r"\b(pypi|pythonhosted|download\.(pytorch)|deb\.(debian)|(security|snapshot)\.(debian)|npmjs)\.(org|com)\b")


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def git(*arguments: str) -> list[str]:
    # CI may run as another user than the one who owns the checkout.
    done = run("git", "-c", "safe.directory=*", *arguments, "-z") if shutil.which("git") else None
    if done is None or done.returncode:
        pytest.skip("this is not a git checkout, so there is no list of tracked files")
    return [line for line in done.stdout.split("\0") if line]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    return [ROOT / name for name in git("ls-files") if (ROOT / name).is_file()]


# --- the house ---------------------------------------------------------------------------------------------------------


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    return run(sys.executable, "-c", code, cwd=house)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(ROOT / "course_lib", tmp_path / "course_lib", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_a_floor_imports_only_from_the_floors_below_it(house: Path) -> None:
    done = lint_imports(house)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("world/upward.py", "course_lib.models"),
        ("evaluation/upward.py", "course_lib.training"),
        ("models/sideways.py", "course_lib.lora"),
        ("errors.py", "course_lib.world"),
    ],
)
def test_an_import_against_the_rule_is_found(house: Path, module: str, forbidden: str) -> None:
    with (house / "course_lib" / module).open("a") as file:
        file.write(f"\nimport {forbidden}\n")
    done = lint_imports(house)
    assert done.returncode == 1
    assert forbidden in done.stdout


def test_a_package_without_a_floor_is_found(house: Path) -> None:
    (house / "course_lib" / "attic.py").write_text("")
    assert "attic" in lint_imports(house).stdout


# --- quick to start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["import course_lib", "import course_lib.cli; course_lib.cli.main(['--help'])"])
def test_starting_loads_nothing_heavy(code: str) -> None:
    report = f"import atexit, sys; atexit.register(lambda: print('LOADED', *(set(sys.modules) & {HEAVY})))\n"
    done = run(sys.executable, "-c", report + code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


# --- what is committed -------------------------------------------------------------------------------------------------


def test_nothing_committed_names_this_machine_or_a_registry(tracked: list[Path]) -> None:
    found = []
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights and pictures
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for rule in (MACHINE_PATH, REGISTRY) for match in rule.finditer(text)]
    assert not found


@pytest.mark.parametrize(
    "text",
    ["cd /" + "work/main", "'/" + "root/x'", "/" + "home/ann/x", "(/" + "tmp/venv)", "https://" + "pypi" + ".org/simple"],
)
def test_names_of_machines_and_registries_are_recognised(text: str) -> None:
    assert MACHINE_PATH.search(text) or REGISTRY.search(text)


@pytest.mark.parametrize("text", ["lessons/" + "work/a", "https://example.org/home/", "~/work", "/homeward", "pytorch.org/docs"])
def test_other_names_are_let_through(text: str) -> None:
    assert not MACHINE_PATH.search(text)
    assert not REGISTRY.search(text)


def test_committed_files_are_small(tracked: list[Path]) -> None:
    assert not [path for path in tracked if path.stat().st_size > 16e6]
    weights = [path.stat().st_size for path in tracked if path.suffix == ".safetensors"]
    assert 0 < sum(weights) <= 16e6


def test_scripts_are_executable_in_git() -> None:
    modes = {line.split("\t")[1]: line[:6] for line in git("ls-files", "-s")}
    for script in (".ci/run", "binder/postBuild", "binder/start", "install.sh"):
        assert modes.get(script) == "100755", script


# --- what is installed -------------------------------------------------------------------------------------------------


def requirements() -> list[Requirement]:
    project = PYPROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values(), PYPROJECT["build-system"]["requires"]]
    return [Requirement(line) for group in groups for line in group]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if not line.startswith("#")]
    assert all(matches), "constraints.txt holds something else than NAME==VERSION"
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_a_lower_bound_and_is_pinned(requirement: Requirement) -> None:
    assert [specifier.operator for specifier in requirement.specifier] == [">="]
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(300)
def test_all_extras_install_together() -> None:
    """One pin that another doesn't bear makes an extra that nobody can install."""
    extras = ",".join(name for name in PYPROJECT["project"]["optional-dependencies"] if name != "gpu")
    words = ["-m", "pip", "install", "--dry-run", "--quiet", "--constraint", "constraints.txt", f".[{extras}]"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.mark.parametrize("python", ["3.11.0", "3.14.0"])
def test_pinned_releases_install_on_every_python_we_promise(python: str) -> None:
    """One pin that needs 3.11.5 sends pip, on Debian's 3.11.2, into a search that ends after minutes, or never."""
    pinned = [each for each in metadata.distributions() if pins().get(canonicalize_name(each.name)) == each.version]
    assert not [each.name for each in pinned if python not in SpecifierSet(each.metadata.get("Requires-Python") or "")]


def test_colab_keeps_its_own_packages() -> None:
    """What Colab ships (August 2026) satisfies our bounds: a learner there doesn't wait for another torch."""
    colab = {
        "torch": "2.11.0",
        "transformers": "5.15.0",
        "peft": "0.20.0",
        "datasets": "4.0.0",
        "ipywidgets": "7.7.1",
        "ipython": "7.34",
    }
    bounds = {requirement.name: requirement.specifier for requirement in requirements()}
    assert [name for name, version in colab.items() if not bounds[name].contains(version)] == []


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports, at its top or inside its functions."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in names}


def test_what_course_lib_imports_is_required() -> None:
    """Nothing is used that is there only because something else, or a developer, needs it."""
    declared = {canonicalize_name(requirement.name).replace("-", "_") for requirement in requirements()}
    declared |= {"IPython", "PIL"}  # ipython's and pillow's import names
    used = {name for path in (ROOT / "course_lib").rglob("*.py") for name in imported(path.read_text(encoding="utf-8"))}
    assert used - declared - sys.stdlib_module_names == {"course_lib"}


def test_the_wheel_holds_library_lessons_and_weights(tmp_path: Path, tracked: list[Path]) -> None:
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("fine_tuning_lora_measured-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    ours = {path.relative_to(ROOT) for path in tracked}
    assert {path.as_posix() for path in ours if path.parts[0] == "course_lib"} <= names
    solved = {path for path in ours if path.parts[:2] == ("lessons", "exercises") and path.parts[2] != "release"}
    shipped = {path for path in ours if path.parts[0] == "lessons"} - solved
    assert {f"course_lib/{path.as_posix()}" for path in shipped} <= names
    assert not [name for name in names if "exercises/source/" in name or "exercises/answers/" in name]
    assert {"course_lib/lessons/00_start_here.ipynb", "course_lib/models/wren/model.safetensors", "course_lib/py.typed"} <= names
    assert "course = course_lib.cli:main" in entry_points


def test_binder_opens_a_lesson_that_exists() -> None:
    config = json.loads((ROOT / "binder" / "jupyter_server_config.json").read_text(encoding="utf-8"))
    for server in (config["LabApp"], config["JupyterNotebookApp"]):
        assert (ROOT / server["default_url"].removeprefix("/lab/tree/")).is_file()
