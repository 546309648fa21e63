"""The Python of the pages is run, and the README's output is what it prints."""

import ast
import re

import jax
import numpy as np
import pytest

import jaxadv as ja
from tests import nets
from tests.docs import pages

# Needs a file, or is what a notebook runs as well.
NOT_RUN = (
    "google.colab",
    '{"mine": pgd}',
    "networks.pretrained",
    "jax_num_cpu_devices",
)


def masked(text):
    """A table without what differs between machines: digits and widths."""
    text = re.sub(r"\d[\d.]*", "0", text)
    return re.sub(r"[ -]+", " ", text).split("\n")


def test_the_readme_prints_what_it_says(capsys):
    page = pages.ROOT / "README.md"
    example = pages.blocks(page, "python")[0]
    assert len([line for line in example.splitlines() if line.strip()]) <= 14
    exec(compile(example, "README", "exec"), {})
    printed = capsys.readouterr().out
    (output,) = [text for text in pages.blocks(page, "") if "pgd_linf" in text]
    assert masked(printed) == masked(output)
    # Rounding differs between processors: by an image or two of 200.
    ours, theirs = (
        [float(x) for x in re.findall(r"0\.2 +(\d+\.\d\d)  200", text)]
        for text in (printed, output)
    )
    assert len(ours) == 3 and np.allclose(ours, theirs, atol=2.0)


@pytest.fixture(scope="module")
def names():
    """What the examples speak of, tiny."""
    module = ja.models.MODELS["mlp"](num_classes=nets.CLASSES)
    variables = module.init(jax.random.key(0), np.zeros((1, *nets.SHAPE), np.float32))
    images, labels = nets.batch(10)
    return {
        "ja": ja, "jax": jax, "module": module, "variables": variables,
        "images": images, "labels": labels, "key": jax.random.key(0),
        "mask": np.ones((*nets.SHAPE[:2], 1), np.float32),
        "masks": np.ones((10, *nets.SHAPE[:2], 1), np.uint8),
        "model": nets.linear(),
        "a": nets.linear(), "b": nets.linear(seed=1), "c": nets.linear(seed=2),
    }  # fmt: skip


BLOCKS = [
    pytest.param(text, id=f"{pages.name(page)}-{number}")
    for page in pages.PAGES
    for number, text in enumerate(pages.blocks(page, "python"))
    if not text.startswith(("import numpy", "# jaxadv/"))
]


@pytest.mark.parametrize("text", BLOCKS)
def test_python_of_the_pages_runs(text, names):
    tree = ast.parse(text)
    if not any(word in text for word in NOT_RUN):
        exec(compile(tree, "page", "exec"), dict(names))
