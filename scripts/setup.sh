#!/bin/sh
# Makes a virtual environment with tested versions of everything; `make demo` and `make test` call it.
# Usage: setup.sh VENV_FOLDER
# PYTHON: interpreter to use (default python3). TORCH_INDEX: extra package index for a torch build.
set -eu
venv=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "LatentWire needs Python 3.10 or newer; '$python' is $("$python" -V 2>&1). Set PYTHON=..." >&2
    exit 1
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# A torch that is already there stays: a GPU user installs theirs first.
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    torch=$(grep '^torch==' constraints.txt)
    wanted=$torch
    # A Linux machine without an NVIDIA driver has no use for gigabytes of CUDA.
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
        wanted=$torch+cpu
    fi
    echo "Installing $wanted ..." >&2
    if ! pip install -qq ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$wanted" 2>"$venv/torch.log"
    then
        [ "$wanted" = "$torch" ] && { cat "$venv/torch.log" >&2; exit 1; }
        echo "pip finds no CPU build of torch; taking the usual build, which may bring gigabytes of" >&2
        echo "CUDA. To avoid it, stop here and give PyTorch's CPU index: make ... TORCH_INDEX=<address>" >&2
        pip install -qq "$torch"
    fi
fi
echo "Installing LatentWire and its tested dependencies ..." >&2
pip install -qq -c constraints.txt -e '.[dev]'
pip install -qq --no-deps -r requirements-embedded.txt
touch "$venv/.ready"
