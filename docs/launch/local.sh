#!/bin/bash
# One training of several processes on this machine, a CPU device each.
#
#     bash docs/launch/local.sh COUNT --config=FILE --workdir=FOLDER …
count=$1
shift
started=()
for ((i = 0; i < count; i++)); do
    python train.py --distributed --coordinator=127.0.0.1:${PORT:-12345} \
        --processes=$count --process_id=$i --cpu_devices=1 "$@" &
    started+=($!)
done
trap 'kill -TERM "${started[@]}" 2>/dev/null' TERM INT
status=0
for process in "${started[@]}"; do
    while kill -0 "$process" 2>/dev/null; do # a signal ends a wait
        wait "$process"
    done
    wait "$process" || status=$?
done
exit $status
