# slurm_train.sh and slurm_test.sh source this: run_on_slurm PARTITION JOB_NAME SCRIPT [arguments].
# Environment: PYTHON, GPUS (4), GPUS_PER_NODE (4), CPUS_PER_TASK (5), SRUN_ARGS. GPUS_PER_NODE=0
# asks for no GPU: GPUS is then the number of processes.
PYTHON=${PYTHON:-python}
GPUS=${GPUS:-4}
GPUS_PER_NODE=${GPUS_PER_NODE:-4}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}

run_on_slurm() {
    local layout=(--ntasks="$GPUS" --cpus-per-task="$CPUS_PER_TASK")
    if [ "$GPUS_PER_NODE" -gt 0 ]; then
        layout+=(--gres="gpu:$GPUS_PER_NODE" --ntasks-per-node="$GPUS_PER_NODE")
    fi
    # SRUN_ARGS is a list of words on purpose
    # shellcheck disable=SC2086
    exec srun -p "$1" --job-name="$2" "${layout[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "$PYTHON" -u "$3" "${@:4}" --launcher slurm
}
