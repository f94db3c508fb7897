#!/bin/bash
# A run or a sweep as a job of SLURM. At its time limit, or pre-empted, it saves and goes back into the queue, to go on.
#   sbatch --partition gpu --gpus 1 --cpus-per-task 8 --time 24:00:00 params/job.sh run voc_20_res101 --set data.labels=1/8
#   sbatch --partition gpu --gpus 1 --cpus-per-task 8 --array 0-2 params/job.sh sweep sweeps/camvid_few   # three divide its runs
#SBATCH --job-name=eln-kit
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120

# What your site needs, such as:    module load cuda
# Unless you submit with it active: source .venv/bin/activate

trap : TERM                       # the run saves, and this script waits for it
srun ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK} eln-kit "$@"
status=$?

job=$SLURM_JOB_ID
[ -z "$SLURM_ARRAY_TASK_ID" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
state=$(squeue --noheader --array --jobs "$job" --format %T)
# 75: stopped, and saved; 143: stopped where there was nothing to save, such as between the runs of a sweep. A job that is
# not RUNNING was cancelled or requeued by SLURM.
if [[ $status =~ ^(75|143)$ && ${state:-RUNNING} == RUNNING && ${SLURM_RESTART_COUNT:-0} -lt 20 ]]; then
  scontrol requeue "$job"
fi
exit $status
