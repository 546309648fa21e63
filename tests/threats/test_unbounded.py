"""The threat without a budget: what it measures, and that nothing is left out."""

import jax
import numpy as np
import pytest

from jaxadv import protocols
from jaxadv.specs import UsageError
from jaxadv.threats import THREATS, Linf, Unbounded
from tests import nets


def test_its_size_is_the_norm_of_the_change():
    images, _ = nets.batch(2)
    change = (images[1] - images[0]).astype(np.float64)
    for measure, want in (
        ("l2", np.linalg.norm(change)),
        ("linf", np.abs(change).max()),
        ("l1", np.abs(change).sum()),
    ):
        threat = Unbounded(measure)
        params = images[1] - images[0]
        np.testing.assert_allclose(threat.size(params, images[0]), want, rtol=1e-5)
        np.testing.assert_allclose(
            threat.distance(images[0], images[1]), want, rtol=1e-5
        )


def test_every_image_is_inside_and_starts_are_uniform_images():
    image = nets.batch(1, (40, 40, 3))[0][0]
    threat = Unbounded()
    far = np.float32(np.where(image < 0.5, 1.0, 0.0)) - image
    assert np.array_equal(threat.project(far, image), far)
    assert np.array_equal(threat.project(100 * far, image), far)
    start = threat.apply(threat.init(jax.random.key(0), image), image)
    quarters = np.quantile(start, (0.25, 0.5, 0.75))
    np.testing.assert_allclose(quarters, (0.25, 0.5, 0.75), atol=0.03)


def test_it_says_that_it_has_no_budget():
    assert THREATS["unbounded"] is Unbounded
    assert protocols.unbounded(Unbounded()) and not protocols.unbounded(Linf(0.1))
    assert Unbounded().eps == np.inf and protocols.norm(Unbounded()) is None
    with pytest.raises(UsageError, match="measure is 'l0'; allowed: 'l2'"):
        Unbounded("l0")
