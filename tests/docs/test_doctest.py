"""The examples in the docstrings of the face are run."""

import doctest
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxadv as ja

FINDER = doctest.DocTestFinder(exclude_empty=True)


def examples():
    """(name, example) of every docstring of the face that has one."""
    for name in ja._HOME:
        part = ja.craft.craft if name == "craft" else getattr(ja, name)
        module = inspect.getmodule(part)
        for found in FINDER.find(part, f"ja.{name}", module=module):
            if found.examples:
                yield found


EXAMPLES = {found.name: found for found in examples()}


def test_the_main_names_have_examples():
    wanted = "Classifier Classifier.from_linen craft craft_batches evaluate autoattack"
    wanted += " Ascent Linf L2 CrossEntropy Margin Expectation Weighted"
    assert {f"ja.{name}" for name in wanted.split()} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_true(name):
    found = EXAMPLES[name]
    found.globs = {"ja": ja, "jax": jax, "jnp": jnp, "np": np}
    told = []
    doctest.DocTestRunner().run(found, out=told.append)
    assert not told, "".join(told)
