"""Names that others have chosen are shown on every page and never act."""

import csv
import html.parser
import json
import re

import pytest

from jaxadv.evaluation import command, corruptions, report
from jaxadv.evaluation.report import charts, page, plots
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.tools import compare
from jaxadv.evaluation.writing import escape, files
from jaxadv.specs import UsageError
from tests.evaluation import test_evaluation as base
from tests.evaluation import test_evaluation_compare as compared
from tests.evaluation import test_plots
from tests.evaluation import test_report as reports
from tests.evaluation import test_study as studied
from tests.evaluation.test_plots_charts import drawn as drawn
from tests.evaluation.test_report import written as written
from tests.evaluation.test_study import made as made

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</td></tr></table><h1>big</h1>",
    "a|b||c",
    "`x` ``y",
    "[click](javascript:alert(1)) <javascript:alert(1)>",
    "![x](https://evil.org/x.png) https://evil.org www.evil.org @someone",
    "a\n# b\r\n\n| c |",
    "&lt;b&gt; &amp;#60;",
    "*a* _b_ __c__ ~~d~~ \\*e",
    "<!-- not seen -->",
    "1. $x_{ $$",
    "- - + x",
    "\x1b[2J\x07\u202eback",
    "caf\udce9",
]


class Parsed(html.parser.HTMLParser):
    """The tags, attributes and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), set(), []
        self.targets = set()
        self.feed(text)
        self.text = "".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.targets |= {value for name, value in attrs if name == "href"}

    def handle_data(self, data):
        self.texts.append(data)


OURS = set(
    "html head meta title style body main div h1 h2 p strong em ul li code table thead "
    "tbody tr th td img a br".split()
)


def shows(text, folder, name, kind="unchecked"):
    """Asserts that Markdown `text` is a page of ours that shows `name` as it is."""
    found = Parsed(page.page(text, folder, kind))
    assert found.tags <= OURS
    assert found.attributes <= set(
        "lang charset name http-equiv content class style alt src role tabindex "
        "aria-label id href".split()
    )
    assert all(re.fullmatch(r"#check-r\d+", target) for target in found.targets)
    assert escape.line(name) in found.text
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_report_shows_names_and_runs_none(written, tmp_path, name):
    content = json.loads(json.dumps(written[0]))
    for field in ("name", "dataset", "split", "suite"):
        content[field] = name
    content["why"] = [f"R1 {name}"]
    content["environment"]["device"] = name
    content["unions"][name] = {**content["unions"]["union"], "attacks": [name]}
    content["seen"] = content["means"] = [name]
    for field in ("attacks", "curves", "curve_titles"):
        content[field] = {name: next(iter(content[field].values()))}
    content["attacks"][name].update(note=name, feasible=0.5)
    content["broken_by"] = {name: 3}
    content["cascades"], content["sweeps"] = {name: [name]}, {}
    content["checks"][0]["evidence"] = name
    content["model"] = {"architecture": name, "checkpoint": name, "which": name}
    content["model"] |= {"defense": name, "training": {"attack": {"name": name}}}
    lines = report.markdown(content, {})
    found = shows(lines, tmp_path, name, "sound")
    titles = re.findall(r"<title>(.*?)</title>", page.page(lines, tmp_path))
    assert len(titles) == 1 and "<" not in titles[0]
    usual = report.markdown(written[0], {})
    plain = Parsed(page.page(usual, tmp_path))
    assert found.tags - plain.tags <= {"code"}
    report.write(content, {}, tmp_path)  # also where a name is no Unicode
    assert "Content-Security-Policy" in (tmp_path / "report.html").read_text()
    assert len(report.text(content).splitlines()) == len(
        [*reports.sheets.rows(content), *report.notes(content)]
    )


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", HOSTILE)
def test_runs_that_are_compared_show_their_names(tmp_path, name, capsys):
    content = compared.report(name, dataset=name, suite=name, split=name)
    content["attacks"] = {name: {**compared.share(60), "eps": 0.1}}
    content["unions"]["union"]["attacks"] = [name]
    given = compared.save(tmp_path / "1.json", content)
    out = tmp_path / "out"
    assert compare.main([str(given), "--output", str(out)]) == 0
    shows((out / "compare.md").read_text(), out, name)
    with open(out / "compare.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["run"].lstrip("'") == escape.line(name)
    # Head, row, and the four files: nothing more than a line each.
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", [h for h in HOSTILE if "\udce9" not in h])
def test_a_study_shows_its_names(made, name):
    rows = studied.stored(made)
    studied.write(made, [[r[0], name, *r[2:]] for r in rows])
    assert studied.run(made, "--distance", "linf") == 0
    shows((made / "out" / "study.md").read_text(), made / "out", name)


def test_corruptions_show_the_name_of_the_run(tmp_path):
    found = {"n": 10, "clean": 0.1, "errors": {"fog": [0.1] * 5}}
    corruptions.write(corruptions.summarize(found), HOSTILE[0], tmp_path)
    text = (tmp_path / "corruptions.md").read_text()
    shows(text, tmp_path, f"{HOSTILE[0]} under common corruptions")


def test_usual_names_are_written_as_they_are():
    for name in ("pgd_linf", "a+b=c.d-e", "8/255 of 74.38 - 96.54", "R7: x >= 0 (y)"):
        assert escape.markdown(name).replace("&gt;", ">") == name
    assert escape.code("runs/a_b.c") == "`runs/a_b.c`"
    assert "`" not in escape.code("a`b")


@pytest.mark.parametrize(
    "value, cell",
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+1", "'+1+1"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("\t=1", "' =1"),
        ("-0.25", "-0.25"),
        ("-", "-"),
        ("60.00 - 70.00", "60.00 - 70.00"),
        (-0.5, "-0.5"),
        ("a\nb", "a b"),
    ],
)
def test_no_cell_of_a_csv_file_is_a_formula(tmp_path, value, cell):
    files.write_csv(tmp_path / "a.csv", [("x",), (value,)])
    with open(tmp_path / "a.csv", newline="") as file:
        assert list(csv.reader(file))[1] == [cell]


@pytest.mark.parametrize("name", ["$x_{", "_hidden", r"$\frac$", "a $b$ c"])
def test_pictures_spell_names(drawn, tmp_path, name):
    share = compared.share(60)
    charts.tradeoff({name: [{"name": name, "clean": share, "union": share}]}, "a.png")
    (axes,) = drawn[0].axes
    (text,) = axes.get_legend().get_texts()
    assert text.get_text().strip().replace(r"\$", "$") == name
    shown = test_plots.pictures(1)
    plots.grid(shown, tmp_path / "g.png", title=name, class_names=[name] * 3)
    test_plots.draw(tmp_path / "c.png", attack=name, dataset=name, threat=name)


PATHS = ["../../x", "a/b", "a\\b", "/x", "..", ".", "", " ", "a\nb", "a\0b", 3]


@pytest.mark.parametrize("name", PATHS)
def test_no_name_leaves_the_folder(name):
    for change in (
        {"name": name},
        {"unions": {name: None}},
        {"cascades": {name: ("pgd",)}},
        {"sweeps": {name: {"attacks": ("pgd",)}}},
        {"attacks": {name: base.pgd()}},
        {"distances": {name: "l2"}},
    ):
        (field,) = change
        with pytest.raises(UsageError, match=f"config.{field}") as error:
            configs.resolve({**base.CONFIG, **change})
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UsageError, match="config.name"):
        corruptions.resolve({"name": name, "corruptions": {"folder": "x"}})


def test_a_name_that_no_file_can_have_is_refused_by_its_length():
    for change in ({"name": "é" * 101}, {"attacks": {"a" * 201: base.pgd()}}):
        with pytest.raises(UsageError, match="20[12] bytes; give one of at most 200"):
            configs.resolve({**base.CONFIG, **change})


def test_a_suite_cannot_be_named_out_of_the_checkpoint(tmp_path, capsys):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    suite = base.ROOT / "configs" / "suites" / "quick.py"
    flags = [f"--config={suite}", f"--checkpoint={tmp_path / 'runs' / 'a'}"]
    assert command.main(["eval.py", *flags, "--config.name=../../x"]) == 2
    error = capsys.readouterr().err
    assert "config.name" in error and len(error.splitlines()) == 1
    assert [p.name for p in tmp_path.rglob("*")] == ["runs", "a"]
