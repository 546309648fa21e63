"""A made study whose numbers are known by hand."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from jaxadv.evaluation.tools import study
from jaxadv.perceptual import NETWORKS, Lpips
from jaxadv.specs import UsageError
from tests import nets

# Attack, bound, gray levels that every pixel moves by, and the answers to each pair.
GROUPS = {
    ("linf", "small"): (5, ["same same same same", "same same same different"]),
    ("linf", "large"): (20, ["different same different yes", "same same"]),
    ("fog", "small"): (10, ["same different same same"]),
    ("fog", "large"): (40, ["different different different different"]),
}
SENTINELS = ["same", "same", "same", "different"]
SHAPE = (6, 5, 3)


@pytest.fixture
def made(tmp_path):
    """Folder with annotations.csv, images/pairs.json and the images."""
    rng, rows, pairs = np.random.default_rng(0), [], []
    for (kind, size), (change, answers) in GROUPS.items():
        for number, text in enumerate(answers):
            name = f"{kind}_{size}_{number}"
            pair = {"id": name, "size": size, "other": 1}
            image = rng.integers(50, 200, SHAPE).astype(np.uint8)
            for stem, pixels in (("original", image), ("adversarial", image + change)):
                pair[stem] = f"{name}/{stem}.png"
                path = tmp_path / "images" / pair[stem]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
            pairs.append(pair)
            shown = [f"https://x/{name}/{s}.png" for s in ("original", "adversarial")]
            rows += [[name, kind, choice, *shown] for choice in text.split()]
    for choice in SENTINELS:
        rows.append(
            [pairs[0]["id"], "linf", choice, "a/original.png", "b/original.png"]
        )
    (tmp_path / "images" / "pairs.json").write_text(json.dumps(pairs))
    write(tmp_path, rows)
    return tmp_path


def stored(folder):
    with open(folder / "annotations.csv", newline="") as file:
        return list(csv.reader(file))[1:]


HEADER = ["pair_id", "pair_type", "choice", "original", "adversarial"]


def write(folder, rows, header=HEADER):
    with open(folder / "annotations.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def run(folder, *flags):
    given = [str(folder / "annotations.csv"), "--images", str(folder / "images")]
    return study.main([*given, "--output", str(folder / "out"), *flags])


def test_perceptibility_is_the_share_of_the_answers(made, capsys):
    assert run(made, "--distance", "l2", "linf") == 0
    content = json.loads((made / "out" / "study.json").read_text())
    got = {(g["type"], g["size"]): g for g in content["groups"]}
    counts = {
        ("fog", "small"): (1, 4),
        ("fog", "large"): (4, 4),
        ("linf", "small"): (1, 8),
        ("linf", "large"): (3, 6),
    }
    assert list(got) == list(counts)
    for key, (different, answers) in counts.items():
        group, pairs = got[key], len(GROUPS[key][1])
        assert (group["different"], group["answers"]) == (different, answers)
        assert group["perceptibility"] == different / answers
        assert group["pairs"] == pairs
        exact = scipy.stats.binomtest(different, answers).proportion_ci(method="wilson")
        assert (group["low"], group["high"]) == pytest.approx(tuple(exact), abs=1e-9)
        moved = GROUPS[key][0] / 255
        assert group["distances"]["linf"] == pytest.approx(moved, rel=1e-5)
        assert group["distances"]["l2"] == pytest.approx(90**0.5 * moved, rel=1e-5)
    sentinels = content["sentinels"]
    assert (sentinels["different"], sentinels["answers"]) == (1, 4)
    x, y = [10, 40, 5, 20], [0.25, 1.0, 0.125, 0.5]
    for name in ("l2", "linf"):  # both in proportion, so both perfect
        assert content["correlations"][name]["pearson"] == pytest.approx(
            np.corrcoef(x, y)[0, 1], abs=1e-5
        )
        assert content["correlations"][name]["spearman"] == pytest.approx(1)
    out = capsys.readouterr().out
    assert "12.50" in out and "sentinel" in out and "1.000" in out
    page = (made / "out" / "study.md").read_text()
    assert "| linf | small | 2 | 8 | 12.50 | 2.24 - 47.09 |" in page
    for name in ("perceptibility.png", "correlation.png"):
        assert (made / "out" / name).is_file() and f"]({name})" in page


def test_a_pair_weighs_once_however_often_it_was_judged(made):
    """Pairs of 6 and 2 answers: the mean distance is over pairs, not answers."""
    pairs = json.loads((made / "images" / "pairs.json").read_text())
    farther = made / "images" / pairs[1]["adversarial"]
    with Image.open(made / "images" / pairs[1]["original"]) as image:
        Image.fromarray(np.asarray(image) + np.uint8(15)).save(farther)
    rows = stored(made)
    write(made, [*rows, *[rows[0]] * 10])
    run(made, "--distance", "linf")
    content = json.loads((made / "out" / "study.json").read_text())
    group = content["groups"][2]
    assert (group["type"], group["size"], group["answers"]) == ("linf", "small", 18)
    assert group["distances"]["linf"] == pytest.approx((5 + 15) / 2 / 255, rel=1e-5)


def test_distances_are_the_same_in_any_batches(made):
    pairs = study.read_pairs(made / "images" / "pairs.json")
    own = {"lpips": Lpips(nets.linear(shape=SHAPE)), "l2": study.DISTANCES["l2"]()}
    whole = study.measure(pairs, made / "images", own, batch_size=6)
    parts = study.measure(pairs, made / "images", own, batch_size=4)
    assert list(whole["lpips"]) == list(pairs)
    for name, values in whole.items():
        for pair, value in values.items():
            assert value == pytest.approx(parts[name][pair], abs=1e-5)
    files = (made / "images" / pairs["fog_large_0"][k] for k in HEADER[3:])
    a, b = (jnp.asarray(study._image(file)) for file in files)
    assert whole["lpips"]["fog_large_0"] == pytest.approx(
        float(own["lpips"](a, b)), rel=1e-4
    )


def test_the_attack_can_be_named_elsewhere(made):
    rows = stored(made)
    write(made, [[r[0], *r[2:]] for r in rows], [HEADER[0], *HEADER[2:]])
    pairs = json.loads((made / "images" / "pairs.json").read_text())
    for pair in pairs:
        pair["attack"] = pair["id"].split("_")[0]
    (made / "images" / "pairs.json").write_text(json.dumps(pairs))
    assert run(made, "--distance", "l2", "--type", "attack") == 0
    content = json.loads((made / "out" / "study.json").read_text())
    assert {g["type"] for g in content["groups"]} == {"fog", "linf"}


def test_correlation_of_few_or_equal_groups_is_undefined():
    nothing = {"pearson": None, "spearman": None}
    assert study.correlation([1, 2], [1, 2]) == nothing
    assert study.correlation([1, 1, 1], [1, 2, 3]) == nothing
    assert study.correlation([1, 2, 3], [1, 1, 1]) == nothing
    found = study.correlation([1, 2, 4], [3, 2, 1])
    assert found["spearman"] == pytest.approx(-1)
    assert found["pearson"] == pytest.approx(np.corrcoef([1, 2, 4], [3, 2, 1])[0, 1])


def test_distances_are_named_with_their_network(monkeypatch):
    asked = []

    def small(path=None):
        asked.append(path)
        return nets.conv(shape=SHAPE)

    monkeypatch.setitem(NETWORKS, "alexnet", small)
    name, built = study.parse_distance("lpips_alexnet")
    assert name == "lpips_alexnet" and isinstance(built, Lpips) and built.network
    assert study.parse_distance("lpips_alexnet=some/where.pth")[0] == "lpips_alexnet"
    assert asked == [None, "some/where.pth"]
    for wrong in ("lpips", "lpips_alexnett", "l3", "l2=a"):
        with pytest.raises(UsageError, match=f"unknown '{wrong}'.*l2.*alexnet"):
            study.parse_distance(wrong)


def spoil(folder, what):
    images, table = folder / "images", folder / "annotations.csv"
    pairs = images / "pairs.json"
    if what == "no csv":
        table.unlink()
    elif what == "column":
        table.write_text(table.read_text().replace("choice", "answer", 1))
    elif what == "empty cell":
        table.write_text(table.read_text().replace(",same,", ",,", 1))
    elif what == "header only":
        write(folder, [])
    elif what == "sentinels only":
        write(folder, [["fog_small_0", "fog", "same", "x/a.png", "y/a.png"]])
    elif what == "unknown pair":
        table.write_text(table.read_text().replace("fog_small_0,", "fog_9,", 1))
    elif what == "no pairs":
        pairs.unlink()
    elif what == "pairs are no list":
        pairs.write_text("{}")
    elif what == "no size":
        pairs.write_text(pairs.read_text().replace('"size"', '"bound"', 1))
    elif what == "no image":
        (images / "fog_small_0" / "original.png").unlink()
    elif what == "no png":
        (images / "fog_small_0" / "original.png").write_text("text")
    elif what == "other size":
        shape = (4, 4, 3)
        path = images / "linf_large_1" / "adversarial.png"
        Image.fromarray(np.zeros(shape, np.uint8)).save(path)


@pytest.mark.parametrize(
    "what, words",
    [
        ("no csv", ["annotations.csv", "No such file"]),
        ("column", ["annotations.csv", "column 'choice' is missing", "answer"]),
        ("empty cell", ["annotations.csv", "line 2", "'choice' is empty"]),
        ("header only", ["annotations.csv", "no annotations"]),
        ("sentinels only", ["annotations.csv", "columns original and adversarial"]),
        ("unknown pair", ["pair_id 'fog_9'", "pairs.json", "--images"]),
        ("no pairs", ["pairs.json", "--images"]),
        ("pairs are no list", ["pairs.json", "must be a list"]),
        ("no size", ["pairs.json", "entry 0 has no 'size'"]),
        ("no image", ["fog_small_0", "original.png", "No such file"]),
        ("no png", ["fog_small_0", "original.png", "no image"]),
        ("other size", ["linf_large_1", "(4, 4)", "(6, 5)", "one size"]),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(made, capsys, what, words):
    spoil(made, what)
    assert run(made, "--distance", "l2") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ")
    for word in words:
        assert word in captured.err
    assert not (made / "out").exists()


def test_a_type_that_is_nowhere_is_told(made, capsys):
    assert run(made, "--distance", "l2", "--type", "attack") == 2
    assert "no column 'attack'" in capsys.readouterr().err
