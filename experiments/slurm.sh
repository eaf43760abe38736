#!/bin/bash
# Trains a sweep in shards, one for each job of a SLURM array. All arguments go to `lstm-jax run`:
#
#   sbatch --array=1-16 experiments/slurm.sh hidden_by_lr
#   lstm-jax run hidden_by_lr          # afterwards: joins the shards and trains what is missing
#
# A job that is stopped (out of time, preempted, scancel --batch --signal=TERM) saves and ends with
# exit code 75, or 130 before it trains: it is queued again and resumes. SLURM itself queues the jobs
# of a lost node again.
#SBATCH --job-name=lstm-jax
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=lstm-jax-%A-%a.log

# SLURM copies this script, so the checkout is the directory in which sbatch was called.
program=.venv/bin/lstm-jax
test -x $program || program=lstm-jax

$program run "$@" &
child=$!
trap 'trap "" TERM; kill -TERM $child' TERM
wait $child
code=$?
# The signal ends the first wait at once, but the program first saves its segment.
while kill -0 $child 2>/dev/null; do
    wait $child
    code=$?
done
if [ $code -eq 75 ] || [ $code -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
