#!/bin/sh
# One step of a pipeline: runs a script as a job on a cluster, and ends with the job's exit code.
#
#   NAMESPACE=team TOKEN=run-17 pipeline.sh [OPTIONS of daskjob submit] SCRIPT [ARGS]
#
# The token belongs to this run of the step. If the step is repeated with the same token, because its
# machine was lost, it finds the job that already runs. A new run needs a new token.
set -u

job=$(daskjob submit -n "$NAMESPACE" --token "$TOKEN" -o name "$@") || exit
job=${job#daskjob/}
# A pipeline that is cancelled gets SIGTERM; daskjob attach alone would leave the job running.
trap 'daskjob cancel -n "$NAMESPACE" "$job"' INT TERM

daskjob attach -n "$NAMESPACE" --timeout "${TIMEOUT:-2h}" "$job" &
wait $!
code=$?

case $code in
0) exit 0 ;;
121) echo "The cluster failed, not the script. Run this step again." >&2 ;;
122) echo "A deadline passed." >&2 ;;
123) echo "The job was cancelled." >&2 ;;
124) echo "The job still runs: daskjob attach -n $NAMESPACE $job" >&2 ;;
125) echo "The job could not run as it was submitted." >&2 ;;
esac
daskjob why -n "$NAMESPACE" "$job" >&2
exit $code
