#!/bin/bash
# One training on all hosts of a TPU slice.
#
#     TPU_NAME=… ZONE=… bash docs/launch/tpu.sh
exec gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all \
    --command="cd jaxadv && bash docs/launch/again.sh .venv/bin/python train.py \
        --distributed --config=configs/baselines/cifar10_pgd_at.py \
        --workdir=/mnt/shared/runs/at"
