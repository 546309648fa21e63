"""Writes the distances of the official `lpips` package, 0.1.4, to lpips.json.

Needs the extra `bench`. The backbones are random (see `streams`); the learned
weights of version 0.1 are the package's own. Computed in float64.

    python -m tests.golden.make_lpips
"""

import json
from pathlib import Path

import torch

from tests.golden import streams
from tests.golden.vision import torchvision  # noqa: F401  (lpips imports it)

import lpips  # isort: skip

NETS = {"alexnet": "alex", "vgg16": "vgg"}


def official(net, **options):
    model = lpips.LPIPS(net=NETS[net], pnet_rand=True, verbose=False, **options)
    tensors = streams.backbone(net)
    with torch.no_grad():
        for name, value in model.net.named_parameters():
            kind = ".".join(name.split(".")[-2:])
            value.copy_(torch.from_numpy(tensors.pop(f"features.{kind}")))
    assert not tensors
    return model.double()


def distances(model):
    pair = [torch.from_numpy(x).permute(0, 3, 1, 2).double() for x in streams.images()]
    with torch.no_grad():
        return model(*pair, normalize=True).flatten().tolist()


def main():
    golden = {}
    for net in NETS:
        weighted = official(net, lpips=True, pretrained=False)
        with torch.no_grad():
            for layer, values in zip(weighted.lins, streams.linear(net), strict=True):
                layer.model[-1].weight.copy_(
                    torch.from_numpy(values)[None, :, None, None]
                )
        golden[net] = {
            "unweighted": distances(official(net, lpips=False)),
            "weighted": distances(weighted),
            "learned": distances(official(net, lpips=True, pretrained=True)),
        }
    path = Path(__file__).with_name("lpips.json")
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
