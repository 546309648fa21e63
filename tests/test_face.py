"""`import jaxadv as ja`: what it offers, and what it leaves alone until asked."""

import ast
import importlib
import json
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

import jaxadv as ja
from jaxadv import configfiles
from tests import nets
from tests.paths import ROOT

# What neither a plain import nor an attack on arrays may need.
HEAVY = (
    "orbax", "tensorflow", "tensorflow_datasets", "array_record", "matplotlib", "PIL",
    "pandas", "sklearn", "mlxtend", "tensorboardX", "torch",
)  # fmt: skip


def fresh(code):
    """What `code` prints as JSON in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_takes_nothing_but_the_standard_library():
    assert fresh(
        "import sys, json, importlib, typing; before = set(sys.modules)\n"
        "import jaxadv\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    ) == ["jaxadv"]


@pytest.mark.parametrize(
    "use",
    [
        "ja.craft, ja.Linf, ja.Ascent, ja.CrossEntropy, ja.Classifier, ja.LpipsBall",
        "ja.evaluate, ja.autoattack, ja.Result",
        "ja.attacks, ja.threats, ja.objectives, ja.models, ja.perceptual",
    ],
)
def test_names_of_attacks_pull_no_data_or_checkpoint_library(use):
    found = fresh(
        f"import sys, json\nimport jaxadv as ja\n{use}\n"
        f"print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    assert found == []


def test_config_files_of_before_are_still_read(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "from jaxadv import settings\n"
        "def get_config():\n"
        "    return settings.complete(settings.default_config())\n"
    )
    assert configfiles.load(str(path)).epochs == ja.settings.default_config().epochs


def test_every_name_is_what_its_module_says():
    for name, home in ja._HOME.items():
        value = getattr(ja, name)
        if name != "craft":
            assert value is getattr(importlib.import_module(home), name)
        assert value.__doc__, name
    for name in ja._MODULES:
        assert isinstance(getattr(ja, name), types.ModuleType)
    assert set(ja.__all__) <= set(dir(ja))
    assert len(ja.__all__) == len(set(ja.__all__)) <= 60


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Linff'"):
        _ = ja.Linff


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "jaxadv" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert all(alias.asname == alias.name for alias in node.names)  # public
        seen |= {alias.name: node.module for alias in node.names}
    assert seen == ja._HOME | dict.fromkeys(ja._MODULES, "jaxadv")
    assert (ROOT / "jaxadv" / "py.typed").exists()


def test_craft_is_the_module_and_the_function():
    from jaxadv.craft import craft

    model, (images, labels) = nets.linear(), nets.batch(3)
    attack, key = ja.Ascent(ja.Linf(0.1), rel_step_size=0.5, steps=2), jax.random.key(0)
    direct = jax.jit(craft)(attack, model, key, images, labels)
    face = jax.jit(ja.craft)(attack, model, key, images, labels)
    np.testing.assert_array_equal(direct.image, face.image)
    assert ja.craft.craft is craft
