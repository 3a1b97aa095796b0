"""Binder and Codespaces: what they read is valid, and, with a network, Binder's own steps end in a lesson within 2 GB."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from course_lib.notebook.publish import offline

ROOT = Path(__file__).resolve().parents[1]
BINDER = ROOT / "binder"
JOVYAN = Path("/", "home", "jovyan")  # of user 1000, in Binder's images
PLACE = Path("/srv/conda/envs")


def test_binder_has_what_repo2docker_reads_and_nothing_that_overrides_it() -> None:
    assert (BINDER / "runtime.txt").read_text() == "python-3.11\n"
    for name in ("postBuild", "start"):
        text = (BINDER / name).read_text()
        assert text.startswith("#!/bin/bash\n")
        assert os.access(BINDER / name, os.X_OK)
    # An environment.yml would silently win over the rest, and a Dockerfile over everything.
    assert not [name for name in ("environment.yml", "Dockerfile", "Pipfile", "setup.py") if (BINDER / name).exists()]
    # With a folder binder/, repo2docker looks nowhere else: files of these names in the root would only mislead readers.
    assert not [name for name in ("requirements.txt", "environment.yml", "postBuild", "apt.txt") if (ROOT / name).exists()]


@pytest.mark.slow
@pytest.mark.network
def test_repo2docker_plans_the_steps_that_we_test(tmp_path: Path) -> None:
    """`jupyter-repo2docker --no-build` prints its Dockerfile without a container engine."""
    venv.create(tmp_path / "r2d", with_pip=True)
    bin, env = tmp_path / "r2d" / "bin", {name: value for name, value in os.environ.items() if name not in offline()}
    subprocess.run([bin / "pip", "install", "-q", "jupyter-repo2docker"], env=env, check=True, capture_output=True)
    copy_tracked(tmp_path / "repo")
    done = subprocess.run(
        [bin / "jupyter-repo2docker", "--no-build", "--debug", tmp_path / "repo"], env=env, capture_output=True, text=True
    )
    plan = done.stdout + done.stderr
    assert "Building conda environment for python=3.11" in plan, plan[-2000:]
    assert "\nRUN ./binder/postBuild\n" in plan
    assert 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in plan
    assert "requirements.txt" not in plan, "it would install from there first, with CUDA"


def copy_tracked(folder: Path) -> None:
    """What git has or would take, as it is now; nothing that it ignores."""
    names = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def test_the_dev_container_names_what_exists() -> None:
    config = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert set(config) <= {
        "name", "image", "features", "hostRequirements", "updateContentCommand", "postCreateCommand", "postAttachCommand",
        "customizations", "forwardPorts", "portsAttributes", "remoteUser", "containerEnv", "remoteEnv",
    }  # fmt: skip
    assert re.search(r"python:3\.1[1-9]", config["image"])
    (target,) = re.findall(r"make (\S+)", config["updateContentCommand"])
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    for file in config["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / file).is_file()
    assert ".venv/" in config["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]


# -- Binder's own steps -------------------------------------------------------------------------------------------------

# As in repo2docker's Dockerfile: an environment of its own at its place, the repository in the home of user 1000, postBuild, and then
# the server under `start`. Python stands in for the one that repo2docker gets from conda.
BUILD = """set -eu
cd "$HOME"
"$PYTHON" -m venv "$VENV"
export PATH="$VENV/bin:$PATH" NB_PYTHON_PREFIX="$VENV" KERNEL_PYTHON_PREFIX="$VENV"
./binder/postBuild
du -sm "$VENV" | sed 's/^/size MB /'
"""
LESSON = """
import sys
import venv
from pathlib import Path
from course_lib.notebook import publish
run = publish.execute(publish.read(Path("lessons/00_start_here.ipynb")), Path("lessons"))
print(f"ran in {run.seconds:.0f} s, {run.peak_bytes / 1e9:.2f} GB peak")
assert run.peak_bytes < 1.6e9
"""


def bubble(home: Path, environment: dict[str, str], command: list[str], *, network: bool) -> subprocess.CompletedProcess[str]:
    """A command as user 1000 with nothing of this checkout or home in sight: all is read-only but Binder's own folders."""
    python = Path(sys.base_prefix)
    hidden = {path for path in (Path.home(), Path("/tmp"), JOVYAN.parent, Path("/srv"), ROOT) if path.is_dir()}
    options = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-user", "--uid", "1000", "--gid", "1000"]
    options += [part for path in sorted(hidden) for part in ("--tmpfs", str(path))]
    options += [
        "--ro-bind",
        str(python),
        str(python),
        "--bind",
        str(home / "jovyan"),
        str(JOVYAN),
        "--bind",
        str(home / "srv"),
        str(PLACE),
    ]
    options += ["--clearenv", "--unshare-ipc", "--unshare-pid", "--die-with-parent"] + ([] if network else ["--unshare-net"])
    options += [part for name, value in environment.items() for part in ("--setenv", name, value)]
    return subprocess.run(["bwrap", *options, "--chdir", str(JOVYAN), *command], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_binders_steps_end_in_a_lesson_within_two_gigabytes(tmp_path: Path) -> None:
    home = tmp_path / "jovyan"
    (tmp_path / "srv").mkdir()
    copy_tracked(home)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "LANG", "SSL_CERT_FILE"} or name.startswith(("PIP_", "UV_"))
    }
    environment |= {"HOME": str(JOVYAN), "USER": "jovyan", "VENV": f"{PLACE}/notebook"}
    environment["PYTHON"] = str(Path(sys.base_prefix) / "bin" / "python3")
    built = bubble(tmp_path, environment, ["bash", "-c", BUILD], network=True)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    print(built.stdout[-300:])
    python = f"{PLACE}/notebook/bin/python"
    check = "import torch, json, sys; print(torch.__version__, torch.cuda.is_available()); assert torch.version.cuda is None"
    found = bubble(tmp_path, environment, [python, "-c", check], network=False)
    assert found.returncode == 0, found.stdout + found.stderr
    # Not by a limit on address space or data, which would refuse what PyTorch only reserves: what all processes of the kernel really
    # took together, watched ten times a second, must leave Binder's 2 GB room for JupyterLab.
    guard = offline() | {"PYTHONPATH": str(JOVYAN / "course_lib" / "notebook" / "offline")}
    ran = bubble(tmp_path, environment | guard, ["./binder/start", python, "-c", LESSON], network=False)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
    config = bubble(tmp_path, environment, [python, "-m", "jupyter", "server", "--show-config-json"], network=False)
    assert "00_start_here.ipynb" in config.stdout, config.stderr[-2000:]
    shutil.rmtree(tmp_path / "srv")  # 2 GB that nobody needs to look at
