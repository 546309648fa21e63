"""Whole files: our own form, normalization, where they are found, the command line."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from jaxadv import weights
from jaxadv.weights import __main__ as command
from tests.weights.layouts import state_of
from tests.weights.pickled import fails, write_state


def test_the_file_s_own_normalization_is_preferred(tmp_path):
    statistics = {
        "normalizer.new_mean": np.array([0.25, 0.5, 0.75], np.float32)[:, None, None],
        "normalizer.new_std": np.array([0.5, 0.125, 1.0], np.float32)[:, None, None],
    }
    tensors = {f"model.{k}": v for k, v in state_of("resnet18").items()}
    attacker = {f"attacker.{k}": v for k, v in tensors.items()}
    path = tmp_path / "x.pt"
    names = {f"module.{k}": v for k, v in (tensors | statistics | attacker).items()}
    write_state(path, names)
    loaded = weights.load(path, "resnet18")
    assert (loaded.mean, loaded.std) == ((0.25, 0.5, 0.75), (0.5, 0.125, 1.0))
    path = write_state(tmp_path / "y.pt", state_of("resnet18"))
    fails(weights.load, path, "resnet18", match="give normalization")
    assumed = weights.load(path, "resnet18", assumed=True)
    assert assumed[2:] == weights.published("resnet18")
    assert weights.published("resnet18")[1] == (0.2023, 0.1994, 0.2010)
    _, _, *found = weights.load(path, "resnet18", normalization="cifar10")
    assert found == list(weights.NORMALIZATIONS["cifar10"])
    fails(weights.load, path, match="give arch")
    assert str(path) in fails(weights.load, path, "resnet34", match="missing")


PLAIN = {"normalization": "none"}


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("arch", ["resnet18", "wrn_28_10", "alexnet", "swin_t"])
def test_our_own_files_say_what_they_are(tmp_path, arch):
    source = write_state(tmp_path / "x.pth", state_of(arch))
    weights.save(tmp_path / "x.safetensors", weights.load(source, arch, **PLAIN))
    first, second = (
        weights.load(source, arch, **PLAIN),
        weights.load(tmp_path / "x.safetensors"),
    )
    assert first.module == second.module
    assert (first.mean, first.std) == (second.mean, second.std)
    same(first.variables, second.variables)
    assert weights.load(tmp_path / "x.safetensors", arch).module == first.module
    fails(weights.load, tmp_path / "x.safetensors", "vgg16", match=f"holds {arch}, not")
    if arch == "alexnet":
        trunk = weights.load(tmp_path / "x.safetensors", trunk=True)
        other = weights.load(source, arch, trunk=True, **PLAIN)
        assert trunk.module.trunk
        same(trunk.variables, other.variables)
        weights.save(tmp_path / "t.safetensors", trunk)
        for flag in (False, True):
            again = weights.load(tmp_path / "t.safetensors", trunk=flag)
            same(again.variables, other.variables)
    else:
        fails(
            weights.load, tmp_path / "x.safetensors", None, True, match="trunk is for"
        )


def test_how_a_network_is_computed_is_not_saved(tmp_path):
    source = write_state(tmp_path / "x.pth", state_of("vit_s16"))
    found = weights.load(source, "vit_s16", **PLAIN)
    chosen = found.module.clone(remat=True, compute_dtype="bfloat16")
    weights.save(tmp_path / "x.safetensors", found._replace(module=chosen))
    assert weights.load(tmp_path / "x.safetensors").module == found.module


def test_our_own_file_with_damaged_metadata(tmp_path):
    path = tmp_path / "x.safetensors"
    about = {"arch": "vgg16", "fields": "{", "mean": "[0]", "std": "[1]"}
    for change, match in [
        ({}, "its metadata cannot be read"),
        ({"fields": '{"depth": 3}'}, "x.safetensors: unknown field 'depth'"),
        ({"fields": "{}", "arch": "vgg61"}, "x.safetensors: unknown name 'vgg61'"),
    ]:
        tensors = {"params/x": np.zeros(1)}
        safetensors.numpy.save_file(tensors, path, about | change)
        fails(weights.load, path, match=match)


def test_how_a_network_is_computed_is_not_in_its_file(tmp_path):
    source = write_state(tmp_path / "x.pth", state_of("wrn_28_10_dm"))
    found = weights.load(source, "wrn_28_10_dm", **PLAIN)
    module = found.module.clone(remat=True, compute_dtype="bfloat16")
    weights.save(tmp_path / "x.safetensors", found._replace(module=module))
    assert weights.load(tmp_path / "x.safetensors").module == found.module != module


def test_our_own_file_that_has_changed(tmp_path):
    path = tmp_path / "x.safetensors"
    source = write_state(tmp_path / "x.pth", state_of("resnet18"))
    weights.save(path, weights.load(source, "resnet18", **PLAIN))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in (start, (start + len(whole)) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        for read in (weights.load, weights.read):
            fails(read, path, match="x.safetensors is damaged: its checksum is wrong")
    edited = whole[:start].replace(rb'"std":"[', rb'"std":"[1', 1)
    assert len(edited) == start + 1 and edited.count(b" ") > 0
    path.write_bytes(edited.replace(b" ", b"", 1) + whole[start:])
    fails(weights.load, path, match="its checksum is wrong")


def test_saving_elsewhere_is_refused(tmp_path):
    path = write_state(tmp_path / "x.pth", state_of("cifar_alexnet"))
    loaded = weights.load(path, "cifar_alexnet", **PLAIN)
    fails(weights.save, tmp_path / "x.pth", loaded, match="must end in .safetensors")
    absent = tmp_path / "absent" / "x.safetensors"
    fails(weights.save, absent, loaded, match="cannot be written")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_not_finite_are_named(tmp_path, bad):
    tensors = state_of("resnet18")
    name = "layer2.0.bn1.running_var"
    tensors[name] = tensors[name].astype(np.float64)
    tensors[name][1] = bad
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file(tensors, foreign)
    message = fails(weights.load, foreign, "resnet18")
    assert f"1 of the {tensors[name].size} numbers of {name} are NaN or inf" in message
    tensors[name][1] = 1.0
    safetensors.numpy.save_file(tensors, foreign)
    found = weights.load(foreign, "resnet18", normalization="imagenet")
    own = tmp_path / "own.safetensors"
    kernel = np.array(found.variables["params"]["stem"]["kernel"])
    bad = bad if np.isnan(bad) else np.sign(bad) * np.inf  # in float32
    kernel.flat[0] = bad
    broken = {**found.variables["params"], "stem": {"kernel": kernel}}
    changed = found._replace(variables={**found.variables, "params": broken})
    weights.save(own, changed)
    assert "of params/stem/kernel are NaN" in fails(weights.load, own)
    weights.save(own, found._replace(std=(bad,) * 3))
    assert "the normalization: 3 of the 3 numbers of std" in fails(weights.load, own)


def test_learned_weights_of_a_distance_are_finite(tmp_path):
    path = tmp_path / "lin.safetensors"
    tensors = {"lin0.model.1.weight": np.float32([[[[1.0]], [[np.nan]]]])}
    safetensors.numpy.save_file(tensors, path)
    message = fails(weights.lpips_linear, "alexnet", path)
    assert "1 of the 2 numbers of lin0.model.1.weight are NaN" in message


def test_find(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path))
    message = fails(weights.find, "alexnet")
    assert "alexnet-owt-7be5be79.pth" in message
    assert str(tmp_path / "alexnet.pth") in message and "'path'" in message
    for name in ("alexnet.pt", "alexnet.pth", "alexnet.safetensors"):
        (tmp_path / name).touch()
        assert weights.find("alexnet") == tmp_path / name
    assert weights.find("vgg16", tmp_path / "alexnet.pt") == tmp_path / "alexnet.pt"
    fails(
        weights.find, "vgg16", tmp_path / "no.pt", match="no.pt, the weights of vgg16"
    )
    fails(weights.find, "vgg61", match="did you mean 'vgg16'")
    monkeypatch.delenv("JAXADV_WEIGHTS_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "jaxadv_weights").mkdir()
    (tmp_path / "jaxadv_weights" / "vgg16.pth").touch()
    assert weights.find("vgg16") == tmp_path / "jaxadv_weights" / "vgg16.pth"


def lpips_tensors():
    rng = np.random.default_rng(0)
    return {
        f"lin{i}.model.1.weight": rng.uniform(size=(1, c, 1, 1))
        for i, c in enumerate((2, 3, 4))
    }


def test_lpips_weights(tmp_path, monkeypatch):
    tensors = lpips_tensors()
    path = write_state(tmp_path / "alex.pth", tensors)
    found = weights.lpips_linear("alexnet", path)
    for value, expected in zip(found, tensors.values(), strict=True):
        np.testing.assert_array_equal(value, np.float32(expected.ravel()), strict=True)
    package = tmp_path / "site" / "lpips"
    (package / "weights" / "v0.1").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    write_state(package / "weights" / "v0.1" / "vgg.pth", tensors)
    monkeypatch.syspath_prepend(package.parent)
    assert [len(v) for v in weights.lpips_linear("vgg16")] == [2, 3, 4]
    fails(weights.lpips_linear, "squeeze", match="squeeze.pth is no file")
    fails(weights.lpips_linear, "resnet", match="allowed: alexnet, vgg16, squeeze, st")
    other = write_state(tmp_path / "o.pth", {"fc.weight": np.zeros((2, 2))})
    fails(weights.lpips_linear, "alexnet", other, match="does not hold LPIPS weights")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fails(weights.lpips_linear, "vgg16", match="pip install lpips --no-deps")


# The command line


def test_command_converts_and_shows(tmp_path, capsys):
    source = write_state(tmp_path / "x.pth", state_of("cifar_alexnet"))
    target = tmp_path / "x.safetensors"
    convert = ["convert", str(source), str(target), "--arch", "cifar_alexnet"]
    assert command.main([*convert, "--trunk"]) == 0
    assert weights.load(target).module.trunk
    assert command.main(["show", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "params/conv1/kernel  3x3x3x2  float32" in shown
    assert "10 tensors" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "absent.pth"], "absent.pth is no file"),
        (["convert", "{x}", "{x}.safetensors"], "give arch (--arch)"),
        (["convert", "{x}", "{x}.safetensors", "--arch", "alexnot"], "did you mean"),
        (["convert", "{x}", "{x}.pth", "--arch", "resnet18"], "must end in"),
        (["convert", "{x}", "out", "--trunc"], "unrecognized arguments: --trunc"),
        (["shew", "{x}"], "invalid choice"),
        ([], "required: COMMAND"),
    ],
)
def test_command_tells_mistakes_in_one_line(tmp_path, capsys, arguments, message):
    path = str(write_state(tmp_path / "x.pth", state_of("resnet18")))
    try:
        status = command.main([a.replace("{x}", path) for a in arguments])
    except SystemExit as leave:
        status = leave.code
    error = capsys.readouterr().err
    assert status == 2 and error.count("\n") == 1 and error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == [tmp_path / "x.pth"]


def test_command_help(capsys):
    with pytest.raises(SystemExit) as leave:
        command.main(["--help"])
    assert leave.value.code == 0
    shown = capsys.readouterr().out
    assert "convert" in shown and "JAXADV_WEIGHTS_DIR" in shown and "--trunk" in shown
