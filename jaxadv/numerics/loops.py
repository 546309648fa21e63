"""Steps in a loop, at the cost of the same steps one after the other.

What is compiled does not grow with the number of steps. XLA:CPU treats the body of a
loop worse than the program around it, in two ways that are mended here:

- Only outside of loops does it bring convolutions into the form that its fast kernels
  take. The convolution of an input gradient, whose kernel is transposed, takes 5 to 10
  times as long without. Here it is written in that form.
- It moves what does not change out of the loop before it looks for what is computed
  twice, and then no longer sees that a gradient and a goal at one point share their
  forward pass. Here nothing is moved out.

Nothing else was found to suffer in a loop.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun


def repeat(count: int, body: Callable[[Any], Any], carry: Any) -> Any:
    """Applies `body` `count` times, in a loop.

    Args:
      count: at least 0.
      body: carry -> carry, of the same structure, shapes and dtypes.
      carry: a pytree of arrays.
    """
    if jax.default_backend() == "cpu":
        body = _as_outside(body)
    return lax.fori_loop(0, count, lambda _, now: body(now), carry)


def canonical(traced: ClosedJaxpr) -> ClosedJaxpr:
    """`traced` with all convolutions as images [b, …, c] by kernels […, c, f].

    It computes the same. What jitted parts, derivatives, branches and loops call is
    rewritten too, though not the rules of functions with derivatives of their own.
    """
    return _rewritten(traced)


def _as_outside(body):
    """`body` as XLA:CPU would compile it outside of a loop."""

    def fast(carry):
        traced, shape = jax.make_jaxpr(body, return_shape=True)(carry)
        # Together with what changes, no constant of the loop can be told from it.
        consts, leaves = lax.optimization_barrier(
            (traced.consts, jax.tree.leaves(carry))
        )
        made = jaxpr_as_fun(canonical(traced.replace(consts=consts)))(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), made)

    return fast


def _rewritten(part: Any) -> Any:
    """A jaxpr, or a parameter of a primitive that may hold some, rewritten."""
    if isinstance(part, Jaxpr):  # later versions of JAX have no other kind
        return part.replace(eqns=[_equation(e) for e in part.eqns])
    if isinstance(part, ClosedJaxpr):
        return part.replace(jaxpr=_rewritten(part.jaxpr))
    if isinstance(part, tuple | list) and any(map(_is_jaxpr, part)):
        return type(part)(map(_rewritten, part))
    return part


def _is_jaxpr(part):
    return isinstance(part, ClosedJaxpr | Jaxpr)


def _equation(equation):
    if equation.primitive is not lax.conv_general_dilated_p:
        params = {k: _rewritten(v) for k, v in equation.params.items()}
        return equation.replace(params=params)
    convolve = jax.jit(functools.partial(_convolve, **equation.params))
    operands = [variable.aval for variable in equation.invars]
    (call,) = jax.make_jaxpr(convolve)(*operands).eqns
    return equation.replace(primitive=call.primitive, params=call.params)


def _convolve(image, kernel, *, dimension_numbers, **params):
    """A convolution whose operands are transposed, not read in another order."""
    batch, channel, *space = dimension_numbers.lhs_spec
    made, used, *window = dimension_numbers.rhs_spec
    last = len(space) + 1
    plain = (0, last, *range(1, last))
    result = lax.conv_general_dilated_p.bind(
        lax.transpose(image, (batch, *space, channel)),
        lax.transpose(kernel, (*window, used, made)),
        dimension_numbers=lax.ConvDimensionNumbers(
            plain, (last, last - 1, *range(last - 1)), plain
        ),
        **params,
    )
    places = dict(zip(dimension_numbers.out_spec, plain, strict=True))
    return lax.transpose(result, [places[axis] for axis in range(last + 1)])
