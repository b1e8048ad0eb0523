#!/bin/sh
# One job for each value of a parameter, and a table of their results.
#
#   sweep.sh NAMESPACE SWEEP [OPTIONS of daskjob submit]
#
# Each job has a token of its own. A second call with the same name of the sweep submits nothing again:
# it finds the jobs, waits for those that still run, and prints the same table.
set -eu
namespace=$1 sweep=$2
shift 2
here=$(dirname "$0")

jobs=
for steps in 10 1000; do
    job=$(daskjob submit -n "$namespace" --token "$sweep-$steps" -o name "$@" \
        "$here/integrate.py" --steps "$steps")
    jobs="$jobs ${job#daskjob/}"
done

# shellcheck disable=SC2086 # one word for each job
daskjob wait -n "$namespace" $jobs >&2
for job in $jobs; do
    daskjob status -n "$namespace" -o json "$job" |
        python -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["status"]["result"]))'
done
