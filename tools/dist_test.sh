#!/usr/bin/env bash
# Test with several processes on one machine or more; without a GPU they run on the CPU (gloo).
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
# Environment: PYTHON, PORT, and for several machines NNODES, NODE_RANK, MASTER_ADDR.
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/dist_test.py" "$@"
