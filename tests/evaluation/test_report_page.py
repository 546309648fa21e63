"""The page: what stands first, in which words, colors and boxes."""

import html.parser
import json
import re

import pytest

from jaxadv.evaluation import metrics, report
from jaxadv.evaluation.report import headline, judged, page, sheets, style
from jaxadv.evaluation.writing import cells
from tests.evaluation.test_evaluation import straight as straight
from tests.golden import make_report


@pytest.fixture
def content():
    """A report of twelve images, four attacks in two balls; nothing checked."""
    found = make_report.content(make_report.made())
    return json.loads(json.dumps(found))


@pytest.mark.parametrize(
    ("eps", "threat", "words"),
    [
        (8 / 255, "linf", "8/255"),
        (0.5 / 255, "linf", "0.001961"),
        (1 / 255, "linf", "1/255"),
        (128 / 255, "l2", "128/255"),
        (0.15, "linf", "0.15"),
        (0.2, "linf", "0.2"),
        (1.0, "linf", "1"),
        (0.5, "l2", "0.5"),
        (12.0, "l1", "12"),
        (1000.0, "l2", "1000"),
        (0.0, "linf", "0"),
        (8 / 255, "lpips_ball", "0.03137"),
        (float("inf"), "unbounded", "penalized"),
    ],
)
def test_a_budget_is_written_as_people_do(eps, threat, words):
    assert cells.budget(eps, threat) == words


def test_the_headline_can_be_quoted(content):
    """Worked by hand: 11 of 12 clean, 6 left by all attacks together."""
    low, high = metrics.wilson(6, 12)
    assert headline.sentence(content) == (
        f"91.7 % clean, 50.0 % ({100 * low:.1f}\u2013{100 * high:.1f}) worst case "
        "under linf (eps up to 8/255) or l2 (eps 0.5), n = 12: not checked"
    )
    content["attacks"] = {"strong": content["attacks"]["strong"]}
    content["verdict"] = "sound: 3 checks passed, 1 warning"
    assert headline.sentence(content).endswith(
        " worst case under linf, eps 8/255, n = 12: sound"
    )
    content["verdict"] = "not sound: 1 of 3 checks failed"
    assert headline.sentence(content).endswith("n = 12: not sound")


def test_the_headline_counts_many_threats_and_tells_of_none(content):
    attack = content["attacks"]["first"]
    for name in ("l1", "stadv", "fog"):
        content["attacks"][name] = {**attack, "spec": {"threat": {"name": name}}}
    assert "worst case under 5 threats, n = 12" in headline.sentence(content)
    content["attacks"] = {}
    assert (
        headline.sentence(content) == "91.7 % clean, not attacked, n = 12: not checked"
    )


def test_the_worst_case_is_that_of_the_table(content):
    found = make_report.made()
    left = int(metrics.robust(found, found.attacks).sum())
    assert content["broken_by"]["none"] == left == 6


def section(content, title):
    (found,) = [one for one in sheets.sections(content) if one.title == title]
    return found


def test_what_matters_stands_first(content):
    content["checks"] = [dict(id="R2", name="n", verdict="ok", evidence="see R3")]
    lines = report.markdown(content, {"images, weak": "a.png"}).splitlines()
    heads = [line for line in lines if line.startswith("#") or line.startswith("**")]
    assert heads == [
        "# net on digits (test)",
        f"**{headline.sentence(content)}**",
        "## What was judged",
        "## Accuracy",
        "## Checks",
        "## Accuracy by budget",
        "## How far the broken images moved",
        "## Which attacks break an image",
        "## Accuracy by eps, pgd_linf",
        "## Images, weak",
        "## What the checks look at",
    ]
    assert "| [R2](#check-r2) | n | ok | see [R3](#check-r3) |" in lines


def test_the_table_of_the_page_has_norm_and_eps(content):
    head, *rows = sheets.page_rows(content)
    assert head[:3] == ("attack", "norm", "eps")
    assert [row[:3] for row in rows] == [
        ("clean", "-", "-"),
        ("weak", "linf", "4/255"),
        ("strong", "linf", "8/255"),
        ("first", "l2", "0.5"),
        ("second", "l2", "0.5"),
        *(
            (name, "-", "-")
            for name in ("union l2", "union", "union both", "unseen, second alone")
        ),
        ("mean of counted attacks", "-", "-"),
    ]
    for short, long in zip(
        sheets.rows(content), sheets.page_rows(content), strict=True
    ):
        assert (short[0], *short[2:]) == (long[0], *long[3:])
    found = section(content, "Accuracy by budget")
    assert found.rows[1][1:3] == ("75.00 (4/255)", "58.33 (8/255)")
    assert found.printed[1][1:3] == ("75.00 (0.01569)", "58.33 (0.03137)")


def test_the_page_says_what_was_judged(content):
    content["model"] = {
        "architecture": "lenet_v2",
        "parameters": 421642,
        "checkpoint": "runs/demo",
        "which": "best",
        "step": 56,
        "defense": "adversarial",
        "training": {
            "attacks": {
                "a": {"name": "pgd", "threat": {"name": "linf", "eps": 8 / 255}},
                "b": {"name": "fgsm", "threat": "l2", "steps": 3},
            },
            "data": {"name": "mnist5k"},
            "epochs": 8,
            "clean_epochs": 2,
            "phases": {"first": {"name": "trades", "until": 4}},
        },
    }
    content["environment"] |= dict(
        jaxadv="1", jax="2", jaxlib="3", flax="4", python="5", device="cpu", devices=8,
        attack_matmul_precision="default",
    )  # fmt: skip
    assert judged.lines(content) == [
        "- **Network:** `lenet_v2`, 421,642 parameters, 3 classes",
        "- **Training:** `adversarial`, against `pgd` in `linf` of eps 8/255, `fgsm` "
        "of 3 steps in `l2`, on `mnist5k`, 8 epochs, the first 2 without the defense, "
        "`trades` until epoch 4",
        "- **Checkpoint:** `runs/demo` (best, step 56)",
        "- **Data:** `digits`, split `test`, n = 12 images",
        "- **Budget:** `linf`, eps 4/255 (`weak`); `linf`, eps 8/255 (`strong`); `l2`, "
        "eps 0.5 (`first`, `second`)",
        "- **Suite:** `stored`, seed 0, 128 images at a time on each device",
        "- **Software:** jaxadv 1, jax 2, jaxlib 3, flax 4, Python 5",
        "- **Device:** 8 x cpu; matrix products at precision default in attacks, "
        "highest when judged",
    ]
    content["model"], content["number_forward_passes"] = {"name": "net"}, "20"
    lines = judged.lines(content)
    assert lines[:2] == ["- **Network:** 3 classes", "- **Training:** not known"]
    assert not any("Checkpoint" in line for line in lines)
    assert any("mean prediction of 20 draws" in line for line in lines)


def test_the_verdict_is_colored_and_still_words(content, tmp_path):
    content["checks"] = [
        dict(id=f"R{k}", name="n", verdict=verdict, evidence="e")
        for k, verdict in enumerate(("ok", "warn", "fail", "not run"), 1)
    ]
    lines = report.markdown(content, {})
    for kind in ("sound", "unsound", "unchecked"):
        text = page.page(lines, tmp_path, kind)
        assert f'<p class="headline {kind}"><strong>91.7&nbsp;% clean' in text
        assert text.count('class="headline') == 1
        assert f".{kind} {{ color" in text
    for kind, word in zip(("ok", "warn", "fail", "skipped"),
                          ("ok", "warn", "fail", "not run"), strict=True):  # fmt: skip
        assert f'<td class="{kind}">{word}</td>' in text
    assert headline.kind(content) == "unchecked"
    content["verdict"] = "sound: 1 check passed"
    assert headline.kind(content) == "sound"
    assert headline.kind(content | {"unreliable": True}) == "unsound"


def test_every_link_leads_somewhere(content, tmp_path):
    content["checks"] = [dict(id="R2", name="n", verdict="ok", evidence="see R9, R19")]
    content |= {"verdict": "sound: 1 check passed, 1 warning", "why": ["R15 is wide"]}
    text = page.page(report.markdown(content, {}), tmp_path)
    targets = re.findall(r'href="#([^"]*)"', text)
    anchors = re.findall(r' id="([^"]*)"', text)
    assert {"check-r2", "check-r9", "check-r15", "check-r19"} <= set(targets)
    assert set(targets) <= set(anchors) and len(anchors) == len(set(anchors)) == 16


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_on_their_grounds(scheme):
    """The contrast of WCAG 2, level AA."""
    colors = style.COLORS[scheme]
    pairs = [("good", "good-back"), ("bad", "bad-back"), ("quiet", "none-back")]
    words = ("text", "quiet", "link", "good", "doubt", "bad")
    pairs += [(word, ground) for ground in ("page", "code") for word in words]
    for word, ground in pairs:
        a, b = sorted(luminance(colors[name]) for name in (word, ground))
        assert (b + 0.05) / (a + 0.05) >= 4.5, (word, ground)
    assert "prefers-color-scheme: dark" in style.STYLE


def test_an_evaluation_counts_its_parameters(straight):
    from jaxadv.evaluation.judging import inputs
    from tests.evaluation.test_evaluation import MODEL

    leaves = sum(x.size for x in MODEL.variables.values())
    assert inputs.parameters(MODEL) == leaves > 0
    assert inputs.parameters((MODEL, MODEL)) == 2 * leaves
    assert inputs.parameters(lambda image, key=None: image) is None
    params = {"params": {"w": straight.table.columns["id"]}, "batch_stats": MODEL.mean}
    assert inputs.parameters(MODEL.replace(variables=params)) == 30


def boxes(text):
    """(tag, its attributes, the tags around it) of every element of a page."""

    class Reader(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.open, self.found = [], []

        def handle_starttag(self, tag, attrs):
            self.found.append((tag, dict(attrs), list(self.open)))
            if tag not in ("img", "meta", "br"):
                self.open.append((tag, dict(attrs)))

        def handle_startendtag(self, tag, attrs):
            self.found.append((tag, dict(attrs), list(self.open)))

        def handle_endtag(self, tag):
            assert self.open.pop()[0] == tag  # nothing is left open or crossed

    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader.found


def scrolls(around):
    tag, attrs = around[-1]
    return (
        tag == "div"
        and "overflow-x: auto" in attrs["style"]
        and (attrs["role"], attrs["tabindex"]) == ("region", "0")
        and attrs["aria-label"]
    )


def test_what_is_wide_scrolls_by_itself(content, tmp_path):
    """Tables and pictures, so that the page is as wide as a phone."""
    content["checks"] = [dict(id="R2", name="n", verdict="ok", evidence="e")]
    (tmp_path / "a.png").write_bytes(b"png")
    lines = report.markdown(content, {"images, weak": "a.png"})
    found = boxes(page.page(lines, tmp_path))
    tables = [around for tag, _, around in found if tag == "table"]
    pictures = [around for tag, _, around in found if tag == "img"]
    assert len(tables) == 7 and all(map(scrolls, tables))
    assert len(pictures) == 1 and scrolls(pictures[0])
    metas = [attrs for tag, attrs, _ in found if tag == "meta"]
    (viewport,) = [m["content"] for m in metas if m.get("name") == "viewport"]
    assert "width=device-width" in viewport
    for selector in ("h1, h2, p, li", "th, td"):
        (rule,) = re.findall(rf"^{selector} \{{(.*?)\}}", style.STYLE, re.M | re.S)
        assert "overflow-wrap: anywhere" in rule


def test_the_columns_of_numbers_do_not_wrap(content, tmp_path):
    """They are those that Markdown sets to the right, by a style of the cell."""
    text = page.page(report.markdown(content, {}), tmp_path)
    assert '<td style="text-align: right;">8/255</td>' in text
    assert re.search(r"td\[style\] \{[^}]*white-space: nowrap", style.STYLE)
