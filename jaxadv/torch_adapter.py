"""Networks of torch, called on ONE image; see `adapters`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import adapters
from jaxadv.specs import UsageError


class Torch:
    """A torch module that takes [n, c, h, w], run on the host with its own gradient.

    It compares by the module itself. Under `vmap` a whole batch is one call.
    """

    def __init__(self, module: Any):
        self.module = module
        self._logits = jax.custom_vjp(self._forward)
        self._logits.defvjp(lambda image: (self._forward(image), image), self._backward)

    def __eq__(self, other):
        return isinstance(other, Torch) and self.module is other.module

    def __hash__(self):
        return id(self.module)

    def __call__(self, variables, image, key):
        return self._logits(image), ()

    def _forward(self, image):
        like = jax.ShapeDtypeStruct(self._shape(image.shape), jnp.float32)
        return jax.pure_callback(self._host, like, image, vmap_method="broadcast_all")

    def _backward(self, image, cotangent):
        like = jax.ShapeDtypeStruct(image.shape, image.dtype)
        found = jax.pure_callback(
            self._host_gradient, like, image, cotangent, vmap_method="broadcast_all"
        )
        return (found,)

    def _shape(self, shape):
        return self._host(np.zeros(shape, np.float32)).shape

    def _host(self, image):
        torch = adapters.torch()
        with torch.no_grad():
            logits = self._run(_batch(image))
        return logits.numpy().reshape(*np.shape(image)[:-3], -1)

    def _host_gradient(self, image, cotangent):
        torch = adapters.torch()
        given = _batch(image).requires_grad_(True)
        logits = self._run(given)
        weights = torch.from_numpy(np.array(cotangent, np.float32))
        (found,) = torch.autograd.grad(logits, given, weights.reshape(logits.shape))
        return found.permute(0, 2, 3, 1).numpy().reshape(np.shape(image))

    def _run(self, images):
        _check_mode(self.module)
        logits = self.module(images)
        if getattr(logits, "ndim", 0) != 2:
            raise UsageError(
                "from_torch: the module must return logits [n, classes] of images "
                f"[n, c, h, w]; it returns a {type(logits).__name__}"
            )
        return logits


def of_torch(module: Any) -> Torch:
    """The adapter of a torch module on the CPU, in evaluation mode.

    Raises:
      UsageError: it is no torch module, is in training mode or not on the CPU, or a
        weight is NaN.
    """
    torch = adapters.torch()
    if not isinstance(module, torch.nn.Module):
        name = type(module).__name__
        raise UsageError(f"from_torch: the model is a {name}; give a torch.nn.Module")
    _check_mode(module)
    for name, tensor in module.state_dict().items():
        if tensor.device.type != "cpu":
            raise UsageError("from_torch: the module must be on the CPU: module.cpu()")
        if count := int(torch.isnan(tensor).sum()):
            raise UsageError(
                f"from_torch: {count} of the {tensor.numel()} numbers of {name} are "
                "NaN; take other weights"
            )
    return Torch(module)


def _check_mode(module):
    """Refuses a torch module of which a part draws, or changes its statistics."""
    for name, part in module.named_modules():
        if part.training:
            where = f"its part {name}" if name else "the module"
            raise UsageError(
                f"from_torch: {where} is in training mode; give module.eval()"
            )


def _batch(image):
    """torch [n, c, h, w] of images [..., h, w, c]."""
    torch = adapters.torch()
    images = np.array(image, np.float32)
    images = images.reshape(-1, *images.shape[-3:])
    return torch.from_numpy(images).permute(0, 3, 1, 2)
