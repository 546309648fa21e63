"""Public networks in tiny widths, with weights that are the same everywhere."""

import numpy as np

from jaxadv.weights.layouts import preact, residual, wide
from tests.weights.layouts import SHAPES, plausible, without_norm

_BARE = " without the last normalization"
_PREACT = ("preact_resnet18", "preact_resnet18_fast")
# Whose logits are held in tests/models/test_imagenet_networks.py.
ELSEWHERE = "wide_resnet50_2"
# Name -> architecture; one may be of several forms.
CASES = {
    **{
        arch: arch
        for arch in (*residual.LAYOUTS, *preact.LAYOUTS, *wide.LAYOUTS)
        if arch != ELSEWHERE
    },
    **{arch + _BARE: arch for arch in _PREACT},
}
IMAGES = np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)


def state(case):
    """The state dictionary of a case."""
    shapes = SHAPES[CASES[case]]
    return plausible(without_norm(shapes) if case.endswith(_BARE) else shapes)


def network(case):
    """The network of a case in PyTorch, with the weights of `state`."""
    import torch

    made = _made(CASES[case], bare=case.endswith(_BARE))
    tensors = {name: torch.from_numpy(np.array(v)) for name, v in state(case).items()}
    made.load_state_dict(tensors, strict=True)
    return made.eval()


def in_torch(made, images):
    """Logits [n, classes] of a network in PyTorch for images [n, h, w, c]."""
    import torch

    with torch.no_grad():
        return made(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def _made(arch, bare):
    from tests.weights import torch_zoo

    few = {"num_classes": 7}
    kind, *numbers = arch.removesuffix("_dm").removesuffix("_fast").split("_")
    if kind == "wrn" and arch.endswith("_dm"):
        return torch_zoo.DmWideResNet(int(numbers[0]), 2, **few)
    if kind == "wrn":
        twice = any(name.startswith("sub_block1") for name in SHAPES[arch])
        return torch_zoo.WideResNet(int(numbers[0]), 2, sub_block=twice, **few)
    if arch == "preact_resnet18_dm":
        return torch_zoo.DmPreActResNet(2, **few)
    if kind == "preact":
        return torch_zoo.PreActResNet(arch.endswith("_fast"), not bare, 2, **few)
    return _resnet(torch_zoo, int(kind.removeprefix("resnet")), "imagenet" in numbers)


def _resnet(torch_zoo, depth, imagenet):
    blocks = {18: (2, 2, 2, 2), 110: (18, 18, 18)}.get(depth, (3, 4, 6, 3))
    names = {"shortcut": "downsample", "head": "fc", "imagenet": imagenet}
    names = names if imagenet or depth == 110 else {}
    return torch_zoo.ResNet(blocks, depth == 50, 2, 7, **names)
