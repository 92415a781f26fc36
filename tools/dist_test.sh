#!/usr/bin/env bash
# Test with several processes on one machine or more; without a GPU they run on the CPU (gloo).
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
# Environment: PYTHON, PORT, and for several machines NNODES, NODE_RANK, MASTER_ADDR.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]" >&2
    exit 2
fi
config=$1
checkpoint=$2
processes=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/dist_env.sh"

exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NNODES" --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" --master_port="$PORT" \
    --nproc_per_node="$processes" \
    "$here/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
