"""`eval.py --save_images`: what it writes, and what it refuses."""

import numpy as np
import pytest

from tests.commands.test_eval_cli import call
from tests.commands.test_eval_cli import digits as digits
from tests.commands.test_eval_cli import folder as folder

SPARE = ("--checks=none", "--config.examples=6")


@pytest.mark.parametrize(
    "flag, dtype", [("--save_images", "float32"), ("--save_images=uint8", "uint8")]
)
def test_writes_every_image(folder, tmp_path, capsys, flag, dtype):
    out = tmp_path / "out"
    assert call(folder, flag, f"--workdir={out}", *SPARE) == 0
    said = capsys.readouterr().out
    assert f"adversarial images: {out / 'adversarial.npz'}" in said
    assert ("fgsm as uint8: " in said) == (dtype == "uint8")
    with np.load(out / "adversarial.npz") as file, np.load(out / "table.npz") as found:
        np.testing.assert_array_equal(file["id"], found["id"])
        for name in ("worst", "fgsm", "noise"):
            assert file[f"{name}/image"].shape == (6, 8, 8, 1)
            assert file[f"{name}/image"].dtype == dtype


def test_writes_none_unless_asked(folder, tmp_path):
    assert call(folder, f"--workdir={tmp_path / 'out'}", *SPARE) == 0
    assert not (tmp_path / "out" / "adversarial.npz").exists()


def test_another_type_is_refused_before_anything_is_written(folder, tmp_path, capsys):
    flags = "--save_images=int4", f"--workdir={tmp_path / 'out'}"
    assert call(folder, *flags) == 2
    error = capsys.readouterr().err
    assert "--save_images is 'int4'; allowed: float32, uint8" in error
    assert not (tmp_path / "out").exists()
