#!/bin/bash
# A sweep in parts, one for each job of a SLURM array; every word is one of `lstm-jax run`:
#
#   sbatch --array=1-16 experiments/slurm.sh hidden_by_lr
#   lstm-jax run hidden_by_lr          # afterwards: puts the parts together, trains what is missing
#
# A job that is stopped (its time is over, it is preempted, scancel --batch --signal=TERM) saves and leaves
# with 75, or 130 before it trains: it is queued again and goes on. What a node lost is queued again by SLURM itself.
#SBATCH --job-name=lstm-jax
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=lstm-jax-%A-%a.log

# SLURM copies this script: the checkout is where sbatch was called.
program=.venv/bin/lstm-jax
test -x $program || program=lstm-jax

$program run "$@" &
child=$!
trap 'trap "" TERM; kill -TERM $child' TERM
wait $child
code=$?
# The signal ends the first wait at once; the program saves and ends after its segment.
while kill -0 $child 2>/dev/null; do
    wait $child
    code=$?
done
if [ $code -eq 75 ] || [ $code -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
