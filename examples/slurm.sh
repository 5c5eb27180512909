#!/usr/bin/env bash
# A map in parts on a Slurm cluster: an array job with one part a task, then a job that puts the parts together.
#
#   examples/slurm.sh 8 map.safetensors --variable op5,op3
#
# computes eight parts; what stands after the file goes to `swivel sweep`. What Slurm must know comes from the environment, as
# sbatch reads it: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT, SBATCH_GPUS … The folder of the map must be one that
# all machines see. SWIVEL names the program if it is not on the PATH.
#
# A task that is preempted is queued again and goes on where it stopped. If one fails for good, the map is not made: the same
# command goes on with what there is, and finished parts take a moment. A part's bytes are the machine's: give an array
# processors of one kind where bytes must be equal.
set -euo pipefail

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ || $2 == -* ]]; then
    echo "usage: $0 PARTS MAP.safetensors [options of swivel sweep]" >&2
    exit 2
fi
n_parts=$1 map=$2
shift 2
swivel=${SWIVEL:-swivel}
stem=${map%.safetensors}

parts=()
for ((number = 1; number <= n_parts; number++)); do
    parts+=("$stem-${number}of$n_parts.safetensors")
done
if [[ -e $map ]]; then
    echo "$map is there already; choose another name, or remove it" >&2
    exit 2
fi

# The command line as a shell reads it, whatever blanks the arguments hold. The number of the part is known in the task only.
sweep=$(printf '%q ' srun "$swivel" sweep "$@")
# shellcheck disable=SC2016 # the variable is the task's
number='"$SLURM_ARRAY_TASK_ID"'
sweep+="--shard $number/$n_parts --out $(printf %q "$stem")-${number}of$n_parts.safetensors"
merge=$(printf '%q ' srun "$swivel" merge "${parts[@]}" --out "$map")

array=$(sbatch --parsable --job-name swivel-sweep --requeue --array "1-$n_parts" --wrap "$sweep")
array=${array%%;*} # the cluster's name follows where there are several
merging=$(sbatch --parsable --job-name swivel-merge --dependency "afterok:$array" --kill-on-invalid-dep yes --wrap "$merge")
echo "array job $array computes $n_parts parts, job ${merging%%;*} then writes $map"
