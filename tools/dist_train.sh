#!/usr/bin/env bash
# Train with several processes on one machine or more; without a GPU they run on the CPU (gloo).
#   tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
# Environment: PYTHON, PORT, and for several machines NNODES, NODE_RANK, MASTER_ADDR.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1
processes=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/dist_env.sh"

exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NNODES" --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" --master_port="$PORT" \
    --nproc_per_node="$processes" \
    "$here/train.py" "$config" --launcher pytorch "${@:3}"
