"""The demo: adversarial training of a LeNetV2 on 5,000 MNIST digits, in minutes on a laptop.

    python train.py --config=configs/demo.py --workdir=runs/demo

It is configs/baselines/mnist5k_pgd_at.py, which see.
"""

from configs.baselines.mnist5k_pgd_at import get_config

__all__ = ["get_config"]
