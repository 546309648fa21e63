"""Writes the small PyTorch files that the tests of the readers use.

Needs the extra `bench`.

    python -m tests.golden.make_files
"""

import collections
from pathlib import Path

import torch

FOLDER = Path(__file__).parent


class Schedule:
    """A foreign object, as checkpoints carry them."""

    def __init__(self):
        self.rates = [0.1, 0.01]


def values(*shape, dtype=torch.float32):
    count = torch.Size(shape).numel()
    return torch.arange(count).reshape(shape).to(dtype)


def mixed():
    """Every dtype, and views: a part, a transpose, a stride, and a shared storage."""
    base = values(4, 6)
    return collections.OrderedDict(
        float64=values(3, dtype=torch.float64) / 2,
        float16=values(2, 2, dtype=torch.float16) / 4,
        bfloat16=values(3, dtype=torch.bfloat16) * 1.5,
        int64=values(2, dtype=torch.int64) - 1,
        int32=values(2, dtype=torch.int32),
        int16=values(2, dtype=torch.int16),
        int8=values(2, dtype=torch.int8) - 1,
        uint8=values(2, dtype=torch.uint8) + 254,
        bool=torch.tensor([True, False, True]),
        whole=base,
        part=base[1:3, 2:5],
        transposed=base.T,
        every_second=base[::2, 1::2],
        repeated=torch.tensor([7.0, 8.0]).expand(3, 2),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(values(2)),
    )


def robustness():
    """A checkpoint of the robustness package: wrapped, with an optimizer and more."""
    layers = torch.nn.Linear(2, 3)
    with torch.no_grad():
        layers.weight.copy_(values(3, 2))
        layers.bias.copy_(values(3))
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.1, momentum=0.9)
    layers(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        layers.weight.copy_(values(3, 2))
        layers.bias.copy_(values(3))
    state = {}
    for name, value in layers.state_dict().items():
        state[f"module.model.fc.{name}"] = value
        state[f"module.attacker.model.fc.{name}"] = value
    for prefix in ("module.normalizer", "module.attacker.normalize"):
        state[f"{prefix}.new_mean"] = torch.tensor([0.25, 0.5, 0.75])[:, None, None]
        state[f"{prefix}.new_std"] = torch.tensor([0.125, 0.25, 0.5])[:, None, None]
    return {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "schedule": Schedule(),
        "epoch": 3,
    }


def main():
    old = {"_use_new_zipfile_serialization": False}
    torch.save(mixed(), FOLDER / "mixed_zip.pth")
    torch.save(mixed(), FOLDER / "mixed_legacy.pth", **old)
    torch.save(robustness(), FOLDER / "robustness.pt")
    torch.save(torch.nn.Linear(1, 1), FOLDER / "whole_module.pt")


if __name__ == "__main__":
    main()
