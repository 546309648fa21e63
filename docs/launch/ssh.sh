#!/bin/bash
# One training, one process on each host; the others meet at the first.
#
#     bash docs/launch/ssh.sh HOST0 HOST1 …
coordinator=$1:1234
count=$#
started=()
for ((i = 0; i < count; i++)); do
    ssh -n "$1" "cd jaxadv && bash docs/launch/again.sh .venv/bin/python train.py \
        --distributed --coordinator=$coordinator --processes=$count --process_id=$i \
        --config=configs/baselines/cifar10_pgd_at.py --workdir=/shared/runs/at" &
    started+=($!)
    shift
done
status=0
for process in "${started[@]}"; do
    wait "$process" || status=$?
done
exit $status
