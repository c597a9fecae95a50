#!/usr/bin/env bash
# Sets the trainer's environment up and runs its tests; arguments reach pytest.
set -euo pipefail
cd "$(dirname "$0")"
bash environment.sh --weights
cd ..
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec trainer/.venv/bin/python -m pytest -q trainer/tests "$@"
