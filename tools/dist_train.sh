#!/usr/bin/env bash
# Train with several processes on one machine or more; without a GPU they run on the CPU (gloo).
#   tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
# Environment: PYTHON, PORT, and for several machines NNODES, NODE_RANK, MASTER_ADDR.
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/dist_train.py" "$@"
