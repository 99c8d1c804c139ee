"""The sources' values beside ours, differences with verdicts, and counts."""

from __future__ import annotations

import pytest

from a_record import a_record
from squall.report.comparison import OVER_SEEDS
from squall.report.published import Published, published_tables
from squall.report.records import Record
from squall.report.tables import Table
from squall.studies.charlm.published import PUBLISHED as LANGUAGE
from squall.studies.images.published import PUBLISHED as IMAGES
from squall.studies.text.published import PUBLISHED as TEXT

SOURCE = Published(
    "BERT, MRPC", ("mrpc", "mrpc-part"),
    {"ce": {"accuracy": 82.0, "ece": 13.0, "f1": 86.0},
     "square": {"accuracy": 83.0, "ece": 13.0, "f1": 88.0},
     "squentropy": {"accuracy": 84.0, "ece": 8.0}},
    experiments=("bert",),
)  # fmt: skip

VALUES = {
    ("bert", "mrpc", "ce", 1): (60.0, 1.0),
    ("bert", "mrpc", "ce", 2): (62.0, 2.0),
    ("bert", "mrpc", "square", 1): (60.5, 40.0),
    ("bert", "mrpc", "ccql", 1): (55.0, 0.5),
    ("esim", "mrpc", "ce", 1): (50.0, 5.0),
    ("bert", "reviews", "ce", 1): (50.0, 5.0),
}

DIFFERENCES = {
    ("square", "accuracy"): (-0.5, 0.2),
    ("square", "ece"): (38.5, 0.001),
    ("square", "f1"): (1.25, 0.04),
    ("square", "nll_refinement"): (0.01, 0.03),
    ("squentropy", "accuracy"): (-1.0, 0.01),
    ("squentropy", "ece"): (-2.0, None),
    ("ccql", "accuracy"): (-6.0, 0.001),
}


def _value(experiment: str, dataset: str, system: str, metric: str, **more: object) -> Record:
    return a_record(
        experiment=experiment, dataset=dataset, system=system, metric=metric,
        **({"condition": "test"} | more),
    )  # fmt: skip


@pytest.fixture
def tables() -> list[Table]:
    records = [
        _value(experiment, dataset, system, metric, seed=seed, value=value, condition=condition)
        for (experiment, dataset, system, seed), values in VALUES.items()
        for metric, value in zip(("accuracy", "ece"), values, strict=True)
        for condition in ("test", "test/scaled")
    ]
    for (system, metric), (difference, p_value) in DIFFERENCES.items():
        tested = {} if p_value is None else {"_p": 0.0, "_p_holm": p_value}
        for name, value in {"": difference, **tested}.items():
            records.append(
                _value("bert", "mrpc", system, f"{metric}_difference{name}", value=value,
                       seed=OVER_SEEDS, condition="test/vs ce")
            )  # fmt: skip
    return published_tables([SOURCE], records)


def test_values_of_the_same_model_and_set_stand_side_by_side(tables: list[Table]) -> None:
    assert tables[0].rows == [
        ["BERT, MRPC", "bert", "mrpc", "ce", "82.0 (13.0)", "61.0 ± 1.4 (1.5 ± 0.7)"],
        ["BERT, MRPC", "bert", "mrpc", "square", "83.0 (13.0)", "60.5 (40.0)"],
    ]


def test_differences_have_a_verdict_that_knows_chance(tables: list[Table]) -> None:
    rows = {(row[3], row[4]): row[5:] for row in tables[1].rows}
    assert rows == {
        ("square", "accuracy"): ["+1.0", "-0.50", "not told apart"],
        ("square", "F1"): ["+2.0", "+1.25", "agrees"],
        ("square", "ECE"): ["0.0", "+38.50", "differs"],  # a tie in the source
        ("square", "NLL refinement"): ["", "+0.0100", "worse"],
        ("squentropy", "accuracy"): ["+2.0", "-1.00", "differs"],
        ("squentropy", "ECE"): ["-5.0", "-2.00", "not told apart"],  # one seed: not tested
    }


def test_a_tie_of_the_source_that_is_not_told_apart_agrees() -> None:
    source = Published("s", ("d",), {"ce": {"ece": 1.0}, "square": {"ece": 1.0}})
    records = [
        _value("e", "d", "square", f"ece_difference{name}", value=0.3, seed=OVER_SEEDS,
               condition="test/vs ce")
        for name in ("", "_p_holm")
    ]  # fmt: skip
    assert published_tables([source], records)[0].rows[0][-3:] == ["0.0", "+0.30", "agrees"]


def test_sets_are_counted_with_ties_and_with_chance(tables: list[Table]) -> None:
    rows = {tuple(row[:2]): row[2:] for row in tables[2].rows}
    assert rows["square", "accuracy"] == ["1 of 1, 0 ties", "0 of 1", "0", "0"]
    assert rows["square", "ECE"] == ["0 of 1, 1 ties", "0 of 1", "0", "1"]
    assert rows["squentropy", "ECE"] == ["1 of 1, 0 ties", "1 of 1", "0", "0"]
    assert rows["square", "NLL refinement"] == ["", "0 of 1", "0", "1"]


def test_other_corpora_have_no_source() -> None:
    assert published_tables([SOURCE], [a_record(dataset="mine", metric="accuracy")]) == []


@pytest.mark.parametrize("published", [TEXT, IMAGES, LANGUAGE])
def test_every_source_has_cross_entropy_and_a_square_loss(published: tuple[Published, ...]) -> None:
    for entry in published:
        assert {"ce", "squentropy"} < entry.values.keys()
        assert any(name.endswith("square") or "square-" in name for name in entry.values)
        for values in entry.values.values():
            assert all(0 < value < 100 for value in values.values())


def test_the_sources_count_of_the_square_loss_comes_out_again() -> None:
    """Hui and Belkin 2021: ahead on 12 of 14 sets of text. Four of them are ties in the table."""
    differences = [
        round(entry.values["square"]["accuracy"] - entry.values["ce"]["accuracy"], 1)
        for entry in (*TEXT, *LANGUAGE)
        if "subset" not in entry.title
    ]
    ahead, ties = sum(d > 0 for d in differences), differences.count(0.0)
    assert (len(differences), ahead, ties) == (14, 8, 4)
