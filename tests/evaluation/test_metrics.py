"""The per-example table and every number that is computed from it."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.suites import narrow_cifar
from jaxadv.evaluation import metrics
from jaxadv.evaluation import table as tables
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.table import Table
from jaxadv.specs import UsageError


def make(success, wrong=None, seen=(), ids=None, unions=None):
    """A table of attacks a, b, … with `success` [n, attacks]; `wrong` when clean."""
    success = np.asarray(success, bool)
    n = len(success)
    wrong = np.zeros(n, bool) if wrong is None else np.asarray(wrong, bool)
    ids = np.arange(n) if ids is None else np.asarray(ids)
    columns = {
        "id": ids,
        "label": ids % 3,
        "clean/prediction": ids % 3,
        "clean/margin": np.where(wrong, 0.5, -0.5).astype(np.float32),
    }
    labels = "abcdef"[: success.shape[1]]
    for k, label in enumerate(labels):
        broken = success[:, k] | wrong
        columns |= {
            f"attack/{label}/success": broken,
            f"attack/{label}/prediction": ids % 3,
            f"attack/{label}/margin": np.where(broken, 1.0, -1.0),
            f"attack/{label}/size": np.where(wrong, 0.0, 0.1 + 0.01 * ids),
            f"attack/{label}/steps": np.where(wrong, 0, 7),
            f"attack/{label}/feasible": np.ones(n, bool),
        }
    attacks = {label: {"spec": {"name": "x"}, "eps": 0.3} for label in labels}
    metadata = {
        "attacks": attacks,
        "unions": unions or {"union": list(labels)},
        "seen": list(seen),
    }
    return Table(columns, metadata)


HAND = make(
    [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0]],
    wrong=[0, 0, 0, 0, 1],
    seen=("a",),
)


def test_accuracies_of_a_table_written_by_hand():
    assert metrics.accuracy(metrics.clean_correct(HAND))["correct"] == 4
    per_attack = [metrics.robust(HAND, [k]).sum() for k in "abc"]
    assert per_attack == [2, 2, 3]
    assert metrics.robust(HAND, "abc").tolist() == [False, False, True, False, False]
    assert metrics.robust(HAND, "bc").tolist() == [True, False, True, False, False]


def test_unseen_mean_is_over_the_unseen_and_as_printed_over_all():
    assert math.isclose(metrics.unseen_mean(HAND, ["a"]), (2 / 5 + 3 / 5) / 2)
    printed = metrics.unseen_mean_as_printed(HAND, ["a"])
    assert math.isclose(printed, (2 / 5 + 3 / 5) / 3)
    assert metrics.unseen_mean(HAND, ["a", "b", "c"]) is None
    everything = metrics.unseen_mean(HAND, [])
    assert math.isclose(everything, metrics.unseen_mean_as_printed(HAND, []))


def test_means_of_a_published_table_count_what_the_table_counts():
    """Accuracies of Laidlaw, Singla and Feizi, 2021, table 2, with its unseen means."""
    config = narrow_cifar.get_config()
    cascades = {name: list(labels) for name, labels in config.cascades.items()}
    names = ("linf", "l2", "stadv", "recolor", "ppgd", "lpa")
    linf = dict(zip(names, (49.0, 19.2, 4.8, 54.5, 1.6, 0.0), strict=True))
    pat = dict(zip(names, (30.2, 34.9, 46.4, 71.0, 13.1, 2.1), strict=True))
    for accuracies, seen, mean, printed in (
        (linf, cascades["linf"], 26.17, 19.6),
        (pat, ("ppgd", "lpa"), 45.6, 45.6),
    ):
        columns = {"clean/margin": -np.ones(1000)}
        for label in config.attacks:
            left = round(10 * accuracies[label.split("_")[0]])
            columns[f"attack/{label}/success"] = np.arange(1000) >= left
        metadata = {"attacks": dict.fromkeys(config.attacks), "cascades": cascades}
        metadata["means"] = configs.resolve(with_any_network(config)).means
        table = Table(columns, metadata)
        assert 100 * metrics.unseen_mean(table, seen) == pytest.approx(mean, abs=0.05)
        found = metrics.unseen_mean_as_printed(table, seen)
        assert 100 * found == pytest.approx(printed, abs=0.05)
    assert metrics.seen_mean(table, seen) == pytest.approx((0.131 + 0.021) / 2)
    assert metrics.union_mean(table) == pytest.approx(0.456, abs=5e-4)


def with_any_network(config):
    """The config without the attacks whose network has to be read."""
    given = config.to_dict()
    attacks = {k: v for k, v in given["attacks"].items() if k not in ("ppgd", "lpa")}
    return {**given, "attacks": attacks, "unions": {}, "overlap": (), "seen": ()}


def test_broken_by_counts_exact_sets_of_clean_correct_images():
    assert metrics.broken_by(HAND, ["a", "b", "c"]) == {
        "a": 1,
        "a + b": 1,
        "b + c": 1,
        "none": 1,
    }


def test_an_image_is_credited_to_the_part_of_a_cascade_that_broke_it():
    """b takes over what a has broken, with 0 steps; c is no part."""
    table = make([[1, 1, 0], [1, 1, 1], [0, 1, 0], [0, 0, 0]], wrong=[0, 0, 0, 0])
    table.columns["attack/b/steps"] = np.array([0, 0, 7, 7])
    table.columns["attack/b/feasible"] = np.array([1, 1, 0, 0], bool)
    table.columns["attack/b/distance/l2"] = np.array([9.0, 9.0, 2.0, 3.0])
    table.metadata["cascades"] = {"ab": ["a", "b"]}
    counts = {"a": 1, "a + c": 1, "b": 1, "none": 1}
    assert metrics.broken_by(table, list("abc")) == counts
    # Alone, the last part stands for the cascade.
    assert metrics.broken_by(table, ["b", "c"]) == {"b": 2, "b + c": 1, "none": 1}
    found = metrics.summarize(table)["attacks"]
    told = {k: (v["attacked"], v["broken"], v["correct"]) for k, v in found.items()}
    assert told == {"a": (4, 2, 2), "b": (2, 1, 1), "c": (4, 1, 3)}
    assert found["b"]["mean_steps"] == 7 and found["b"]["feasible"] == 0
    assert found["b"]["distances"]["l2"]["mean"] == 2.0


def test_where_nothing_is_attacked_nothing_leaves_the_budget():
    found = metrics.summarize(make([[0], [1]], wrong=[1, 1]))["attacks"]["a"]
    assert (found["attacked"], found["feasible"], found["mean_steps"]) == (0, 1.0, 0.0)


def test_summary_reads_unions_and_seen_from_the_metadata():
    summary = metrics.summarize(HAND)
    assert summary["unions"]["union"]["correct"] == 1
    assert summary["attacks"]["a"]["seen"] and not summary["attacks"]["b"]["seen"]
    assert summary["attacks"]["a"]["mean_steps"] == 7  # attacked images alone
    assert summary["attacks"]["a"]["attacked"] == 4
    assert math.isclose(summary["attacks"]["a"]["largest_size"], 0.13)


successes = st.lists(
    st.tuples(*[st.booleans()] * 4), min_size=1, max_size=20
)  # three attacks, and whether the clean image is wrong


@settings(deadline=None, max_examples=30)
@given(successes, st.randoms())
def test_union_is_below_each_part_and_ignores_the_order(rows, random):
    rows = np.array(rows)
    table = make(rows[:, :3], wrong=rows[:, 3])
    union = metrics.robust(table, "abc").mean()
    parts = [metrics.robust(table, [k]).mean() for k in "abc"]
    assert union <= min(parts) <= metrics.clean_correct(table).mean()
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = make(rows[order, :3], wrong=rows[order, 3])
    for labels in ("a", "cb", "bca"):
        assert metrics.robust(shuffled, labels).sum() == (
            metrics.robust(table, sorted(labels)).sum()
        )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(n, share, confidence):
    k = round(share * n)
    expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert np.allclose(metrics.wilson(k, n, confidence), expected, atol=1e-12)


def test_wilson_at_values_worked_out_by_hand():
    # z = 1.959964, so z^2 = 3.841459. k = 0, n = 10: high = z^2 / (n + z^2).
    assert metrics.wilson(0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert metrics.wilson(10, 10) == pytest.approx((0.7224672, 1.0), abs=1e-6)
    # k = n / 2: center 1/2, half-width z / (2 sqrt(n + z^2)).
    assert metrics.wilson(50, 100) == pytest.approx((0.4038315, 0.5961685), abs=1e-6)
    assert metrics.wilson(0, 0) == (0.0, 1.0)


def test_curve_counts_an_image_from_its_smallest_eps_on():
    columns = dict(HAND.columns)
    columns["curve/c/eps"] = np.array([0.1, 0.2, np.inf, np.nan, 0.0])
    table = Table(columns, {**HAND.metadata, "curves": {"c": {"eps": [0.1, 0.2]}}})
    points = metrics.curve(table, "c")
    assert [p["eps"] for p in points] == [0.0, 0.1, 0.2]
    assert [p["correct"] for p in points] == [3, 2, 1]
    assert {p["n"] for p in points} == {4}


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, np.inf]), min_size=1))
def test_curve_never_rises(smallest):
    columns = {"id": np.arange(len(smallest)), "curve/c/eps": np.array(smallest)}
    table = Table(columns, {"curves": {"c": {"eps": [0.1, 0.2, 0.3]}}})
    values = [p["accuracy"] for p in metrics.curve(table, "c")]
    assert values == sorted(values, reverse=True)


def test_table_round_trip_is_exact_and_writes_equal_bytes(tmp_path):
    tables.save(HAND, tmp_path / "a" / "t.npz")
    tables.save(HAND, tmp_path / "b.npz")
    loaded = tables.load(tmp_path / "a" / "t.npz")
    assert loaded.metadata == HAND.metadata
    assert list(loaded.columns) == list(HAND.columns)
    for name, column in HAND.columns.items():
        np.testing.assert_array_equal(loaded.columns[name], column)
        assert loaded.columns[name].dtype == column.dtype
    first, second = tmp_path / "a" / "t.npz", tmp_path / "b.npz"
    assert first.read_bytes() == second.read_bytes()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["t.npz"]


def test_loading_what_is_no_table_is_a_usage_error(tmp_path):
    (tmp_path / "text.npz").write_text("no table")
    np.savez(tmp_path / "other.npz", a=1)
    tables.save(HAND, tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:200])
    for name in ("missing.npz", "text.npz", "other.npz", "cut.npz"):
        with pytest.raises(UsageError, match=name):
            tables.load(tmp_path / name)


def test_merge_stacks_distinct_examples_and_sorts_by_id():
    first, second = make([[1], [0]], ids=[4, 0]), make([[0]], ids=[2])
    merged = tables.merge([first, second])
    assert merged.columns["id"].tolist() == [0, 2, 4]
    assert merged.attack("a", "success").tolist() == [False, False, True]


def test_merge_joins_attacks_of_the_same_examples():
    both = make([[1, 0], [0, 1]], seen=["b"])
    only_b = Table(
        {k: v[::-1] for k, v in both.columns.items() if "/a/" not in k},
        {**both.metadata, "attacks": {"b": both.metadata["attacks"]["b"]}},
    )
    merged = tables.merge([make([[1], [0]]), only_b])
    assert merged.attacks == ["a", "b"]
    assert metrics.robust(merged, "ab").tolist() == [False, False]
    assert merged.metadata["seen"] == ["b"]


def test_merge_refuses_parts_that_do_not_fit():
    with pytest.raises(UsageError, match="1 ids are in both"):
        tables.merge([make([[1], [0]]), make([[1], [0]], ids=[1, 2])])
    with pytest.raises(UsageError, match="disagree in column 'attack/a/"):
        tables.merge([make([[1]]), make([[0]])])
    with pytest.raises(UsageError, match="different columns: attack/b"):
        tables.merge([make([[1]]), make([[0, 1]], ids=[1])])


def test_unknown_attack_and_curve_name_what_there_is():
    with pytest.raises(UsageError, match="attacks: a, b, c"):
        metrics.robust(HAND, ["z"])
    with pytest.raises(UsageError, match="curves: none"):
        metrics.curve(HAND, "z")


# Types of attack ------------------------------------------------------------------


def test_accuracies_over_types_written_by_hand():
    losses = [[3.0, 1.0, 2.0, np.nan], [1.0, 2.0, 2.0, 9.0]]
    correct = [[1, 1, 1, 0], [0, 0, 0, 1]]
    found = metrics.types(losses, correct)
    # The first attack is the strongest on examples 0, 2 (a tie) and 3 (NaN).
    assert found == {"acc_max": 0.5, "union": 0.0, "acc_avg": 0.5}


@given(st.integers(1, 4), st.integers(1, 20), st.integers(0, 99))
def test_the_union_is_the_smallest_accuracy_over_types(k, n, seed):
    rng = np.random.default_rng(seed)
    losses, correct = rng.random((k, n)), rng.random((k, n)) < 0.6
    found = metrics.types(losses, correct)
    assert found["union"] <= min(found["acc_max"], correct.mean(1).min())
    slow = [correct[max(range(k), key=lambda i, j=j: losses[i, j]), j]
            for j in range(n)]  # fmt: skip
    assert found["acc_max"] == pytest.approx(np.mean(slow))
    # Where only broken images have large losses, the two agree.
    agreed = metrics.types(losses + 10 * ~correct, correct)
    assert agreed["acc_max"] == agreed["union"]


def test_area_is_that_of_the_trapezoids():
    assert metrics.area([0.5, 1.0, 3.0], [1.0, 0.5, 0.0]) == pytest.approx(0.875)
    assert metrics.area([1, 2], [0.3, 0.3]) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.types([[1.0]], [[True, False]]), "must both be"),
        (lambda: metrics.types(np.zeros((2, 0)), np.zeros((2, 0))), "must both be"),
        (lambda: metrics.area([1.0, 0.5], [0.1, 0.1]), "must ascend"),
        (lambda: metrics.area([1.0], [0.1]), "two or more"),
    ],
)
def test_mistakes_in_numbers_of_types_are_told(call, message):
    with pytest.raises(UsageError, match=message):
        call()
