#!/bin/bash
# One process of a training that mpirun starts; see mpirun's line in ssh.md.
exec .venv/bin/python train.py --distributed --coordinator="$COORDINATOR" \
    --processes="$OMPI_COMM_WORLD_SIZE" --process_id="$OMPI_COMM_WORLD_RANK" \
    --config=configs/baselines/cifar10_pgd_at.py --workdir=/shared/runs/at
