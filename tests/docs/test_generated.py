"""Generated pages are those of the code as it is, and have every name."""

import dataclasses
import importlib

import pytest

import jaxadv as ja
from docs import make_pages
from jaxadv import commands, docstrings, specs


@pytest.mark.parametrize("name", make_pages.PAGES)
def test_a_page_is_what_the_code_says(name):
    written = (make_pages.HERE / name).read_text(encoding="utf-8")
    assert written == make_pages.PAGES[name](), "run: python -m docs.make_pages"


def test_every_name_of_the_face_is_in_one_group():
    names = [name for group in make_pages.GROUPS.values() for name in group]
    assert sorted(names) == sorted(ja.__all__)


def test_every_part_and_every_field_is_explained():
    page = make_pages.config()
    for kind, (module, registry) in commands.PARTS.items():
        if kind in ("data", "metrics"):
            continue
        for name, make in getattr(importlib.import_module(module), registry).items():
            assert f"### {kind}: {name}\n\n" in page
            assert docstrings.first_sentence(make), (kind, name)
            words = docstrings.attributes(make)
            fields = [f for f in specs.configurable(make) if "given" not in f.metadata]
            assert not [f.name for f in fields if not words.get(f.name)], (kind, name)


@dataclasses.dataclass
class Base:
    """Has a | field. And more.

    Attributes:
      first: of them,
        over two lines.
    """

    first: int = specs.static(1, minimum=1)


@dataclasses.dataclass
class Part(Base):
    """Is a part
    of something. It is.

    Attributes:
      second: in [0, 1] units.

    Raises:
      UsageError: it is
        wrong.
    """

    second: float | None = specs.leaf(None, minimum=0.0, maximum=1.0)
    third: str = specs.static("a", choices=("a", "b"))


def test_docstrings_are_read_by_section():
    assert docstrings.first_sentence(Part) == "Is a part of something."
    assert docstrings.attributes(Part) == {
        "first": "of them, over two lines.",
        "second": "in [0, 1] units.",
    }
    assert docstrings.returns(make_pages.signature) == ""
    assert docstrings.returns(ja.craft_batches).startswith("An `Adversarial` of")
    assert docstrings.entries(Part, "Raises") == {"UsageError": "it is wrong."}


def test_signatures_and_values_are_told():
    assert make_pages.signature(Part) == "(first=1, second=None, third='a')"
    found = [make_pages.values(field) for field in specs.configurable(Part)]
    assert found == [
        "a whole number >= 1",
        "a number >= 0 and <= 1, or None",
        "one of: a, b",
    ]

    def call(self, a, b=3, *, c=(), **more):
        pass

    assert make_pages.signature(call) == "(a, b=3, *, c=(), **more)"
