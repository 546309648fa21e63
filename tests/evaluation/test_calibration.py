"""The published tables, in the units of the library's threats."""

import jax
import numpy as np
import pytest

from jaxadv import specs
from jaxadv.attacks import Ascent
from jaxadv.evaluation.metrics.calibration import CALIBRATIONS, STEPS
from jaxadv.threats import THREATS

ROWS = [(data, name) for data, rows in CALIBRATIONS.items() for name in rows]


@pytest.mark.parametrize("data,name", ROWS)
def test_every_row_is_a_threat_with_six_budgets(data, name):
    row = CALIBRATIONS[data][name]
    assert len(row.eps) == 6 and np.all(np.diff(row.eps) > 0)
    threat = specs.build({**row.threat, "eps": row.eps[0]}, THREATS, name)
    assert threat.eps == row.eps[0]
    if row.ata is not None:
        assert len(row.ata) == 6 and np.all(np.diff(row.ata) <= 0)
        assert 0 < row.ata[-1] and row.ata[0] < 1


def test_a_step_of_the_weather_moves_its_variables_by_as_much_as_published():
    for name, part in (("fog", "noise"), ("gabor", "spots"), ("snow", "flakes")):
        row = CALIBRATIONS["imagenet100"][name]
        threat = specs.build({**row.threat, "eps": row.eps[0]}, THREATS, name)
        attack = Ascent(threat, steps=STEPS, rel_step_size=row.rel_step_size)
        params = threat.init(jax.random.key(0), np.zeros((32, 32, 3)))
        ones = jax.tree.map(np.ones_like, params)
        assert np.allclose(attack.move(ones)[part], 0.002236)


def test_known_entries():
    """By other routes: 8/255, 1200/255 and the choices of later papers."""
    cifar, imagenet = CALIBRATIONS["cifar10"], CALIBRATIONS["imagenet100"]
    assert cifar["linf"].eps[3] == 8 / 255 and cifar["linf"].ata[3] == 0.713
    assert imagenet["l2"].eps[3] == 1200 / 255
    assert cifar["elastic"].eps[2] == 0.5 and cifar["jpeg_linf"].eps[2] == 0.125
    assert imagenet["fog"].eps[1] == 256 / 255
    assert imagenet["gabor"].eps[1] == 12.5 / 255
    assert imagenet["snow"].eps[1] == imagenet["jpeg_linf"].eps[1] == 0.125
    # The code counts l1 on CIFAR-10 as the mean over its 3,072 channels.
    assert round(cifar["l1"].eps[3] * 255 / 3072, 7) == 0.5078125
