#!/usr/bin/env bash
# The same as tools/test.py under Slurm, one task per GPU; environment: slurm_env.sh.
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/slurm_env.sh"
run_on_slurm "$1" "$2" "$here/test.py" "${@:3}"
