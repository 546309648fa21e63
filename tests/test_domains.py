"""Domain weights: the ascent step against the problem that it solves."""

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxadv import domains
from tests.oracles import projections as oracle


@settings(deadline=None)  # the first example compiles
@given(hnp.arrays(np.float64, 4, elements=st.floats(-3, 3)), st.floats(0, 5))
def test_the_step_is_the_projected_gradient_of_the_regularized_sum(losses, gamma):
    weights = np.array([0.1, 0.2, 0.3, 0.4])

    def value(w):
        return w @ losses - gamma / 2 * ((w - 0.25) ** 2).sum()

    with jax.enable_x64(True):
        found = domains.ascend(weights, losses, 0.1, gamma)
        moved = weights + 0.1 * np.asarray(jax.grad(value)(weights))
    np.testing.assert_allclose(found, oracle.project_simplex(moved), atol=1e-12)


def test_repeated_steps_reach_the_largest_loss_or_the_average():
    losses, w = np.float32([1, 2, 0]), domains.uniform(3)
    for _ in range(200):
        w = domains.ascend(w, losses, 0.1, 0.0)
    np.testing.assert_array_equal(w, [0, 1, 0])
    for _ in range(200):
        w = domains.ascend(w, losses, 0.1, 4.0)
    # 1/3 + (loss - mean loss) / gamma, inside the simplex
    np.testing.assert_allclose(w, [1 / 3, 7 / 12, 1 / 12], atol=1e-6)


def test_rows_are_their_own_and_a_nan_counts_as_zero():
    losses = np.float32([[1, np.nan], [-1, np.inf]])
    found = domains.ascend(np.full((2, 2), 0.5, np.float32), losses, 0.5, 0.0)
    np.testing.assert_allclose(found, [[0.75, 0.25], [0.25, 0.75]])
