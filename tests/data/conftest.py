"""Data folders that several files read."""

import pytest

from jaxadv.data import (
    prepare,
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data folder that holds mnist5k."""
    folder = tmp_path_factory.mktemp("data")
    prepare.prepare("mnist5k", folder)
    return folder


@pytest.fixture(scope="module")
def few_shapes(tmp_path_factory):
    """A data folder with a few scenes of `shapes`."""
    from jaxadv.data import shapes

    folder = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_SIZES", {"train": 18, "test": 6})
        prepare.prepare("shapes", folder)
        prepare.prepare("shapes/64", folder)
    return folder
