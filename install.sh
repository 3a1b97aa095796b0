#!/bin/sh
# Installs the course into one Python environment, at the versions of constraints.txt. `make` and Binder call this.
#
#   ./install.sh PYTHON [what pip should install]        ./install.sh .venv/bin/python -e '.[dev]'
#
# UV_TORCH_BACKEND chooses the build of PyTorch: auto (the default: CPU unless there is a GPU), cpu, cu130, ...
set -eu
cd "$(dirname "$0")"
python=$(command -v "$1")
shift

quiet=
[ -t 1 ] || quiet=yes # a log file has no use for progress bars
pip() { "$python" -m pip install ${quiet:+-qq} --disable-pip-version-check --constraint constraints.txt "$@"; }

echo "Installing the course's packages: some minutes the first time."
pip uv

# PyTorch comes first and by uv, which knows PyTorch's own index for each kind of hardware. With pip alone, Linux
# machines without a GPU would download some GB of CUDA libraries.
export UV_TORCH_BACKEND="${UV_TORCH_BACKEND:-auto}"
if ! "$python" -m uv pip install ${quiet:+-q} --python "$python" --constraint constraints.txt torch; then
    echo "uv can't reach PyTorch's own index, so pip gets torch where it is set up to look (on Linux maybe with CUDA)."
    pip torch
fi
pip "$@"

# JupyterLab without news and update pop-ups.
settings=$("$python" -c 'import sys; print(sys.prefix)')/share/jupyter/lab/settings
mkdir -p "$settings"
cp binder/overrides.json "$settings/"
