"""Tables of the tabular study, from records made by hand."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from squall.report.records import Record
from squall.scoring.ranks import nemenyi_critical_difference
from squall.studies.tabular.report import _sections, ranks_svg, scatter_svg
from squall.studies.tabular.scores import compare_losses, rank_losses, study_scores
from squall.studies.tabular.source import claims_of_source, read_source
from squall.studies.tabular.tables import tabular_tables

DIVERGED = "1 of 4 networks diverged"
LOSSES = ("ce", "squentropy", "rescaled_square")
# Set to accuracy and ECE of each loss.
MEANS = {
    "a": {"accuracy": (80.0, 82.0, 81.0), "ece": (5.0, 4.0, 9.0)},
    "b": {"accuracy": (70.0, 69.0, 75.0), "ece": (6.0, 7.0, 3.0)},
    "c": {"accuracy": (90.0, 90.0, 85.0), "ece": (8.0, 2.0, 4.0)},
    "d": {"accuracy": (50.0, 55.0, 55.0), "ece": (20.0, 10.0, 11.0)},
    "e": {"accuracy": (60.0, 61.0, 40.0), "ece": (9.0, 8.0, 30.0)},
}


def make_records(
    means: dict[str, dict[str, tuple[float, ...]]] = MEANS, experiment: str = "collection"
) -> list[Record]:
    """Two seeds, one point above and one below the mean in accuracy, half a point in ECE."""
    return [
        Record(
            "tabular", experiment, "uci121", loss, name, seed, metric,
            mean + (1 if seed else -1) * (1.0 if metric == "accuracy" else 0.5),
            "%", 40, "c0ffee", "./run.sh tabular", "2 cores", 1.0,
        )
        for name, metrics in means.items()
        for metric, values in metrics.items()
        for loss, mean in zip(LOSSES, values, strict=True)
        for seed in (0, 1)
    ]  # fmt: skip


def _rows(records: Iterable[Record], title: str) -> list[dict[str, str]]:
    (table,) = (t for t in tabular_tables(list(records)) if t.title.startswith(title))
    return [dict(zip(table.head, row, strict=True)) for row in table.rows]


def test_scores_are_gathered_by_set_loss_and_seed() -> None:
    (scores,) = study_scores(reversed(make_records()))
    assert scores.losses == LOSSES
    assert scores.sets == tuple("abcde")
    assert scores.rows == (40,) * 5
    for metric in ("accuracy", "ece"):
        expected = [MEANS[name][metric] for name in "abcde"]
        np.testing.assert_allclose(scores.means(metric), expected)
    np.testing.assert_allclose(scores.deviations("accuracy"), math.sqrt(2))
    np.testing.assert_allclose(scores.deviations("ece"), math.sqrt(0.5))


def test_pairs_agree_with_scipy_and_know_which_way_is_better() -> None:
    (scores,) = study_scores(make_records())
    found = {(c.loss, c.other): c for c in compare_losses(scores, "ece")}
    assert list(found) == [
        ("squentropy", "ce"),
        ("rescaled_square", "ce"),
        ("squentropy", "rescaled_square"),
    ]
    pair = found["squentropy", "ce"]
    assert (pair.better, pair.equal, pair.worse) == (4, 0, 1)
    assert pair.difference == pytest.approx(np.mean([-1, 1, -6, -10, -1]))
    assert pair.low <= pair.difference <= pair.high
    accuracy = {(c.loss, c.other): c for c in compare_losses(scores, "accuracy")}
    pair = accuracy["squentropy", "ce"]
    assert (pair.better, pair.equal, pair.worse) == (3, 1, 1)
    assert pair.verdict == "not told apart"
    for (loss, other), c in accuracy.items():
        a, b = (
            np.array([MEANS[name]["accuracy"][LOSSES.index(one)] for name in "abcde"])
            for one in (loss, other)
        )
        differences = (a - b)[a != b]
        if len(set(np.abs(differences))) == len(differences):  # scipy has no exact test with ties
            assert c.p_value == pytest.approx(stats.wilcoxon(differences).pvalue)
        assert c.p_value <= c.p_corrected <= 1


def test_a_clear_difference_has_a_verdict() -> None:
    means = {
        f"set{k}": {
            "accuracy": (50.0 + k, 60.0 + 1.5 * k, 50.5 + k),
            "ece": (9.0, 5.0 - k / 9, 9.5),
        }
        for k in range(20)
    }
    (scores,) = study_scores(make_records(means))
    verdicts = {
        (c.loss, c.other, metric): c.verdict
        for metric in ("accuracy", "ece")
        for c in compare_losses(scores, metric)
    }
    assert verdicts["squentropy", "ce", "accuracy"] == "better"
    assert verdicts["squentropy", "ce", "ece"] == "better"
    assert verdicts["rescaled_square", "ce", "accuracy"] == "better"
    assert verdicts["rescaled_square", "ce", "ece"] == "worse"
    (table, *_) = tabular_tables(make_records(means))
    assert "squentropy against ce, ECE: better" in table.note


def test_ranks_agree_with_scipy() -> None:
    (scores,) = study_scores(make_records())
    found = rank_losses(scores, "ece")
    assert found is not None
    ranks = np.array([stats.rankdata(MEANS[name]["ece"]) for name in "abcde"])
    np.testing.assert_allclose(found.average_ranks, ranks.mean(0))
    expected = stats.friedmanchisquare(*scores.means("ece").T)
    assert found.statistic == pytest.approx(expected.statistic)


def test_a_diverged_network_makes_its_loss_the_worst_of_the_set() -> None:
    broken = [
        replace(r, value=None, reason=DIVERGED)
        if (r.condition, r.system, r.seed) == ("d", "squentropy", 1)
        else r
        for r in make_records()
    ]
    (scores,) = study_scores(broken)
    assert scores.sound.sets == tuple("abce")
    found = {claim.text: claim.here.with_ties for claim in claims_of_source(scores, read_source())}
    assert found["squentropy better than ce in accuracy"] == 3  # a, e, a tie in c; without d
    assert found["squentropy better than ce in ECE"] == 3
    (pair,) = (c for c in compare_losses(scores, "ece") if (c.loss, c.other) == LOSSES[1::-1])
    assert (pair.better, pair.equal, pair.worse) == (3, 0, 2)
    assert pair.difference == pytest.approx(np.mean([-1, 1, -6, -1]))  # of a, b, c and e
    # Gains 1, -1, 6 and 1 of a, b, c and e have the ranks 2, 2, 4 and 2, and d has 5. Against it
    # are b and d, together 7; half of the 32 choices of signs have as little. Without d, p is 0.5.
    assert pair.p_value == pytest.approx(1.0)
    ranks = rank_losses(scores, "ece")
    assert ranks is not None
    assert ranks.average_ranks[1] == pytest.approx((1 + 3 + 1 + 3 + 1) / 5)
    losses = {
        row["loss"]: row for row in _rows(broken, "Means over 4 sets, counts and ranks over 5")
    }
    assert [losses[loss]["sets with a diverged network"] for loss in LOSSES] == ["0", "1", "0"]
    assert losses["ce"]["accuracy %"] == "75.00"  # of a, b, c and e
    (row,) = (row for row in _rows(broken, "Every set") if row["set"] == "d")
    assert row["accuracy squentropy"] == "undefined"
    assert row["accuracy rescaled_square"] == "55.00 ± 1.41 *"


def test_tables_of_losses_and_sets() -> None:
    rows = {row["loss"]: row for row in _rows(make_records(), "Means over 5 sets")}
    assert list(rows) == list(LOSSES)
    assert rows["squentropy"]["accuracy %"] == "71.40"
    assert rows["squentropy"]["accuracy: sd over seeds"] == "1.41"
    assert rows["squentropy"]["accuracy: best alone on"] == "2"
    assert rows["rescaled_square"]["ECE: best alone on"] == "1"
    assert rows["ce"]["ECE: rank"] == "2.40"
    sets = {row["set"]: row for row in _rows(make_records(), "Every set")}
    assert sets["c"]["accuracy ce"] == "90.00 ± 1.41 *"
    assert sets["c"]["accuracy squentropy"] == "90.00 ± 1.41 *"
    assert sets["c"]["accuracy rescaled_square"] == "85.00 ± 1.41"
    assert sets["c"]["ECE squentropy"] == "2.00 ± 0.71 *"


def _untrained(name: str, loss: str, seed: int, networks: float) -> Record:
    (own,) = (
        record
        for record in make_records()
        if (record.condition, record.system, record.seed, record.metric)
        == (name, loss, seed, "accuracy")
    )
    return own.measured("untrained", networks, n=4)


def test_untrained_networks_are_counted() -> None:
    found = {("a", "squentropy", 0): 1.0, ("a", "squentropy", 1): 3.0, ("c", "ce", 1): 2.0}
    records = make_records() + [
        _untrained(name, loss, seed, found.get((name, loss, seed), 0.0))
        for name in MEANS
        for loss in LOSSES
        for seed in (0, 1)
    ]
    assert _rows(records, "Sets with untrained networks") == [
        {"set": "a", "networks of each loss": "8", "ce": "0", "squentropy": "4",
         "rescaled_square": "0"},
        {"set": "c", "networks of each loss": "8", "ce": "2", "squentropy": "0",
         "rescaled_square": "0"},
    ]  # fmt: skip
    rows = _rows(records, "Means over 5 sets")
    assert [row["untrained networks"] for row in rows] == ["2 of 40", "4 of 40", "0 of 40"]
    assert rows[1]["accuracy %"] == "71.40"
    assert _rows(records, "Every set")[0]["tested"] == "40"
    both = records + make_records({"a": MEANS["a"]}, "sensitivity bins=5")
    choices = _rows(both, "Other choices")
    assert [row["untrained squentropy"] for row in choices] == ["4", "0"]


def test_the_experiment_with_the_most_sets_has_the_tables_and_the_others_a_row() -> None:
    fewer = {name: MEANS[name] for name in "ab"}
    records = make_records(fewer, "sensitivity bins=5") + make_records()
    assert [row["experiment"] for row in _rows(records, "Other choices")] == [
        "collection",
        "sensitivity bins=5",
    ]
    assert len(_rows(records, "Every set")) == 5
    row = _rows(records, "Other choices")[1]
    assert row["sets"] == "2"
    assert row["accuracy: squentropy against ce"] == "1 / 0 / 1"


def test_one_set_or_one_loss_has_means_and_nothing_to_compare() -> None:
    one_set = make_records({"a": MEANS["a"]})
    titles = [table.title for table in tabular_tables(one_set)]
    assert titles == [
        "The source's claims",
        "Means over 1 sets, counts and ranks over 1",
        "Every set of collection",
    ]
    one_loss = [record for record in make_records() if record.system == "ce"]
    titles = [table.title for table in tabular_tables(one_loss)]
    assert titles == ["Means over 5 sets, counts and ranks over 5", "Every set of collection"]
    assert tabular_tables([]) == []


def test_scatter_plots_count_both_sides_of_the_diagonal() -> None:
    pytest.importorskip("matplotlib")
    (scores,) = study_scores(make_records())
    svg = scatter_svg(scores, "squentropy", "ce")
    assert "3 above, 1 below" in svg  # accuracy; set c is on the line
    assert "1 above, 4 below" in svg  # ECE
    assert "<title>d: 55.00 against 50.00</title>" in svg
    assert "Scatter plots of squentropy against ce on 5 sets" in svg


def test_the_diagram_joins_losses_that_are_not_told_apart() -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    # Two losses whose order is a coin toss, and one that is always last.
    means = {
        f"s{k}": {"accuracy": (*rng.permutation([80.0, 81.0]), 50.0), "ece": (5.0, 5.0, 5.0)}
        for k in range(60)
    }
    (scores,) = study_scores(make_records(means))
    found = rank_losses(scores, "accuracy")
    assert found is not None
    distance = nemenyi_critical_difference(systems=3, data_sets=60)
    apart = [abs(a - b) >= distance for a, b in itertools.combinations(found.average_ranks, 2)]
    assert apart == [False, True, True]
    svg = ranks_svg(scores, "accuracy")
    assert len(re.findall(r"stroke-width: 4", svg)) == 1
    assert f"critical difference {distance:.2f}" in svg
    assert ranks_svg(study_scores(make_records({"a": MEANS["a"]}))[0], "ece") == ""


def test_the_diagram_ranks_the_sets_of_the_table_those_with_a_diverged_network_too() -> None:
    pytest.importorskip("matplotlib")
    broken = [
        replace(r, value=None, reason=DIVERGED) if r.condition == "d" and r.system == "ce" else r
        for r in make_records()
    ]
    shown = "".join(section.body for section in _sections([SimpleNamespace(records=broken)]))
    assert "Mean ranks in accuracy over 5 sets" in shown
    assert "Scatter plots of squentropy against ce on 4 sets" in shown


def test_sets_that_all_have_a_diverged_network_make_a_report() -> None:
    pytest.importorskip("matplotlib")
    broken = [
        replace(r, value=None, reason=DIVERGED) if r.system == "squentropy" else r
        for r in make_records() + make_records(experiment="collection bins=5")
    ]
    rows = _rows(broken, "Means over 0 sets, counts and ranks over 5")
    assert {row["accuracy %"] for row in rows} == {"undefined"}
    assert _rows(broken, "Other choices")[0]["accuracy ce"] == "undefined"
    titles = [section.title for section in _sections([SimpleNamespace(records=broken)])]
    assert titles == ["Ranks, and the difference that is beyond chance"]
