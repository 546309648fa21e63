"""What is told about a file from outside: normalization, sidecar, golden logits."""

import json

import jax
import numpy as np
import pytest

import jaxadv as ja
from jaxadv import loading, weights
from jaxadv.weights import __main__ as command
from tests.weights.layouts import state_of
from tests.weights.pickled import fails, write_state

ARCH, IMAGES = "resnet18", (2, 8, 8, 3)


def foreign(folder, **told):
    """A file of PyTorch, with a sidecar."""
    tensors = {k: np.abs(v) for k, v in state_of(ARCH).items()}
    path = write_state(folder / "net.pt", tensors)
    if told:
        path.with_suffix(".json").write_text(json.dumps(told))
    return path


def logits(path, *args):
    model = ja.load(path, *args)
    images = np.random.default_rng(3).random(IMAGES, np.float32)
    return jax.jit(jax.vmap(model))(images)


def golden(path, *args):
    return {"seed": 3, "shape": IMAGES, "logits": np.asarray(logits(path, *args))}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("none", ((0.0,), (1.0,))),
        ((0, 1), ((0.0,), (1.0,))),
        (([0.1, 0.2, 0.3], 2), ((0.1, 0.2, 0.3), (2.0,))),
        ({"mean": [0.5], "std": 0.25}, ((0.5,), (0.25,))),
    ],
)
def test_statistics_by_name_and_number(given, expected):
    assert weights.statistics(given) == expected


@pytest.mark.parametrize(
    "given",
    ["cifar", (0.5,), (0.5, 0.0), (0.5, [1.0, -1.0]), (np.nan, 1.0), 3, ([], [])],
)
def test_other_statistics_are_refused(given):
    fails(weights.statistics, given, "where", match="^where.*(cifar10|std > 0)")


def test_statistics_are_never_guessed(tmp_path):
    path = foreign(tmp_path)
    fails(ja.load, path, ARCH, match="give normalization .*cifar10_robustness")
    first = logits(path, ARCH, "cifar10")
    assert not np.allclose(first, logits(path, ARCH, "none"))
    np.testing.assert_array_equal(
        first, logits(path, ARCH, weights.NORMALIZATIONS["cifar10"])
    )


def test_a_sidecar_tells_architecture_and_statistics(tmp_path):
    plain = logits(foreign(tmp_path), ARCH, "cifar10")
    path = foreign(tmp_path, arch=ARCH, normalization="cifar10")
    np.testing.assert_array_equal(plain, logits(path))
    np.testing.assert_array_equal(plain, logits(path, ARCH, "cifar10"))
    fails(ja.load, path, "resnet34", match="resnet18 and resnet34")
    message = fails(ja.load, path, ARCH, "none", match="two normalizations are told")
    assert "sidecar" in message and "0.4914" in message


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"archs": ARCH}, "archs"),
        ({"arch": 3}, "arch is 3"),
        ({"normalization": "cifar"}, "normalization"),
        ({"golden": {"seed": 0}}, "golden must be"),
        ({"golden": {"seed": 0, "shape": [1, 2], "logits": [[1.0]]}}, "golden must be"),
    ],
)
def test_a_sidecar_of_something_else_is_refused(tmp_path, told, words):
    path = foreign(tmp_path, **told)
    fails(ja.load, path, ARCH, "none", match=words)


def test_a_damaged_sidecar(tmp_path):
    path = foreign(tmp_path, arch=ARCH)
    path.with_suffix(".json").write_text('{"arch"')
    fails(ja.load, path, match="damaged or no JSON")
    path.with_suffix(".json").write_text("[]")
    fails(ja.load, path, match="JSON object")


def test_golden_logits_are_compared(tmp_path):
    found = golden(foreign(tmp_path), ARCH, "cifar10")
    told = {"arch": ARCH, "golden": found | {"logits": found["logits"].tolist()}}
    path = foreign(tmp_path, **told)
    ja.load(path, normalization="cifar10")
    message = fails(ja.load, path, None, "none", match="away from the golden ones")
    assert "normalization" in message
    fewer = told["golden"] | {"logits": found["logits"][:, :2].tolist()}
    path = foreign(tmp_path, **told | {"golden": fewer})
    fails(ja.load, path, None, "cifar10", match="7 classes")


def test_golden_logits_in_our_own_file(tmp_path):
    source = foreign(tmp_path)
    model, _ = loading.load_file(source, ARCH, "cifar10")
    run = jax.jit(jax.vmap(model))
    made = weights.Golden.made(run, IMAGES[1:])
    path = tmp_path / "own.safetensors"
    found = weights.load(source, ARCH, normalization="cifar10")
    weights.save(path, found, made.json())
    ja.load(path)
    weights.save(path, found._replace(mean=(0.0,)), made.json())
    fails(ja.load, path, match="away from the golden ones")


def test_conversion_keeps_golden_logits(tmp_path, capsys):
    found = golden(foreign(tmp_path), ARCH, "cifar10")
    kept = found | {"logits": found["logits"].tolist()}
    path = foreign(tmp_path, arch=ARCH, normalization="cifar10", golden=kept)
    target = tmp_path / "own.safetensors"
    assert command.main(["convert", str(path), str(target)]) == 0
    assert weights.golden(target).json() == weights.golden(path).json()
    ja.load(target)


def test_a_run_knows_its_network(tmp_path):
    fails(ja.load, tmp_path, ARCH, match="folder of a run")
    fails(ja.load, tmp_path, match="no checkpoint here")
