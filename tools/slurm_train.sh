#!/usr/bin/env bash
# The same as tools/train.py under Slurm, one task per GPU; environment: slurm_env.sh.
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [arguments of tools/train.py]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/slurm_env.sh"
run_on_slurm "$1" "$2" "$here/train.py" "${@:3}"
