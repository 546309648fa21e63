"""Torchvision's networks beside a PyTorch for the CPU.

The wheels of the package index are built for CUDA; without it their operators are
absent and the import fails. The networks need none of them, so they are declared.
"""

import torch

try:
    import torchvision
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor boxes, Tensor scores, float iou) -> Tensor"
        )
    import torchvision

__all__ = ["torchvision"]
