"""Systems against a baseline: what is recorded of a difference, and what the table says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from a_record import a_record
from squall.report.comparison import (
    OVER_SEEDS,
    ScoredRun,
    compare_systems,
    is_comparison,
    mean_scores,
    rate_scores,
)
from squall.report.differences import comparison_tables
from squall.report.records import Record
from squall.scoring.alignment import align

RECORD = a_record(experiment="grid", value=0.0, n=10, commit="c")
UTTERANCES = 60


def _run(
    system: str, seed: int = 1, *, rate: float = 0.2, aligned: bool = False, **changes: object
) -> ScoredRun:
    """60 utterances of 20 words by 12 speakers, with errors at a rate."""
    rng = np.random.default_rng([seed, *map(ord, system)])
    ids = [f"u{k:02d}" for k in range(UTTERANCES)]
    errors = rng.binomial(20, rate, UTTERANCES)
    scores = rate_scores(
        "wer",
        ids=ids,
        groups=[f"s{k % 12}" for k in range(UTTERANCES)],
        errors=errors,
        lengths=[20] * UTTERANCES,
    )
    words = [f"w{k}" for k in range(20)]
    alignments = {
        id: align(reference=words, hypothesis=["x"] * int(wrong) + words[int(wrong) :])
        for id, wrong in zip(ids, errors, strict=True)
    }
    record = replace(RECORD, system=system, seed=seed, **changes)
    return ScoredRun(record, (scores,), alignments if aligned else {})


def _values(records: list[Record], system: str) -> dict[str, float]:
    return {r.metric: r.value for r in records if r.system == system and r.seed == OVER_SEEDS}


def test_a_difference_is_that_of_the_rates() -> None:
    runs = [_run("ce"), _run("square")]
    records = compare_systems(runs)
    rates = [100 * run.scores[0].sums[:, 0].sum() / run.scores[0].sums[:, 1].sum() for run in runs]
    found = _values(records, "square")
    assert found["wer_difference"] == pytest.approx(rates[1] - rates[0])
    assert set(found) == {
        "wer_difference",
        "wer_difference_utterances_low",
        "wer_difference_utterances_high",
        "wer_difference_speakers_low",
        "wer_difference_speakers_high",
        "wer_difference_p",
        "wer_difference_p_holm",
    }
    assert found["wer_difference_utterances_low"] < found["wer_difference"]
    assert found["wer_difference"] < found["wer_difference_utterances_high"]
    first = records[0]
    assert (first.condition, first.seed, first.unit) == ("test/vs ce", OVER_SEEDS, "%")
    assert first.n == UTTERANCES
    assert all(map(is_comparison, records))
    assert not is_comparison(RECORD)


def test_with_seeds_there_is_an_interval_over_seeds_too() -> None:
    runs = [_run(system, seed) for system in ("ce", "square") for seed in (1, 2, 3)]
    found = _values(compare_systems(runs), "square")
    assert found["wer_difference_seeds_low"] <= found["wer_difference_seeds_high"]
    means = {
        system: np.mean(
            [100 * _run(system, seed).scores[0].sums[:, 0].mean() / 20 for seed in (1, 2, 3)]
        )
        for system in ("ce", "square")
    }
    assert found["wer_difference"] == pytest.approx(means["square"] - means["ce"])


def test_real_differences_are_found_and_chance_is_not() -> None:
    runs = [
        _run(system, seed, rate=rate)
        for system, rate in (("ce", 0.3), ("same", 0.3), ("better", 0.2))
        for seed in (1, 2, 3)
    ]
    records = compare_systems(runs)
    assert _values(records, "better")["wer_difference_p_holm"] < 0.01
    assert _values(records, "same")["wer_difference_p_holm"] > 0.05
    (table,) = comparison_tables(records)
    assert table.title == "an4, test: differences to ce"
    real, chance = table.note.split(" Not told apart from chance: ")
    assert "better: WER" in real
    assert "points lower" in real
    assert "other speakers and seeds" in real
    assert chance.startswith("same: WER")
    assert [row[1] for row in table.rows] == ["same", "better"]
    assert table.rows[1][3].startswith("-")


def test_what_was_trained_with_one_seed_speaks_of_speakers_only() -> None:
    seeded = [_run(system, seed, rate=0.3) for system in ("ce", "same") for seed in (1, 2, 3)]
    records = compare_systems([*seeded, _run("better", rate=0.2)])
    (table,) = comparison_tables(records)
    assert "better (for other speakers only): WER" in table.note
    assert "same: WER" in table.note
    of_seeds = dict(zip(table.head, table.rows[1], strict=True))["95 %: other speakers and seeds"]
    assert of_seeds == ""


def _classified(system: str, seed: int, right: int) -> ScoredRun:
    """60 answers, the first of which are right."""
    correct = np.arange(UTTERANCES) < right
    ids = [f"u{k:02d}" for k in range(UTTERANCES)]
    scores = rate_scores("accuracy", ids=ids, groups=[], errors=correct, lengths=[1] * UTTERANCES)
    return ScoredRun(replace(RECORD, system=system, seed=seed), (scores,), correct=correct)


def test_answers_are_compared_by_mcnemars_test() -> None:
    runs = [_classified("ce", seed, 40) for seed in (1, 2)]
    runs += [_classified("square", 1, 50), _classified("square", 2, 41)]
    records = compare_systems(runs)
    tests = {r.seed: r.value for r in records if r.metric == "accuracy_mcnemar_p"}
    assert tests == {1: pytest.approx(2 * 0.5**10), 2: 1.0}
    (table,) = comparison_tables(records, items="texts")
    assert table.head[-1] == "McNemar p < 0.05: seeds"
    assert table.rows[0][-1] == "1 of 2"
    assert "95 %: other texts" in table.head
    assert "95 %: other texts and seeds" in table.head


def test_several_comparisons_are_corrected_together() -> None:
    runs = [_run(system) for system in ("ce", "a", "b", "c")]
    records = compare_systems(runs)
    for system in ("a", "b", "c"):
        found = _values(records, system)
        assert found["wer_difference_p_holm"] >= found["wer_difference_p"]
    plain = sorted(_values(records, s)["wer_difference_p"] for s in ("a", "b", "c"))
    corrected = sorted(_values(records, s)["wer_difference_p_holm"] for s in ("a", "b", "c"))
    assert corrected[0] == pytest.approx(min(1.0, 3 * plain[0]))


def test_the_matched_pair_test_is_made_for_each_shared_seed() -> None:
    runs = [_run("ce", seed, aligned=True, rate=0.4) for seed in (1, 2, 3)]
    runs += [_run("square", seed, aligned=True, rate=0.1) for seed in (2, 3, 4)]
    tests = [r for r in compare_systems(runs) if r.metric == "wer_mapsswe_p"]
    assert [record.seed for record in tests] == [2, 3]
    assert all(record.value < 0.001 for record in tests)
    (table,) = comparison_tables(compare_systems(runs))
    assert table.rows[0][-1] == "2 of 2"


def test_the_baseline_can_be_named() -> None:
    records = compare_systems([_run("ce"), _run("square")], baseline="square")
    assert {(r.system, r.condition) for r in records} == {("ce", "test/vs square")}
    with pytest.raises(ValueError, match=r"--baseline x: .* there are ce, square$"):
        compare_systems([_run("ce"), _run("square")], baseline="x")
    with pytest.raises(ValueError, match="there is one, and nothing to compare"):
        compare_systems([], baseline="x")


def test_experiments_and_splits_are_compared_apart() -> None:
    runs = [_run(s, experiment=e, condition=c) for s in ("ce", "square")
            for e in ("big", "small") for c in ("test", "other")]  # fmt: skip
    records = compare_systems(runs)
    assert {(r.experiment, r.condition) for r in records} == {
        (e, f"{c}/vs ce") for e in ("big", "small") for c in ("test", "other")
    }
    assert len(comparison_tables(records)) == 2
    assert "square (big): WER" in comparison_tables(records)[0].note


def test_a_system_alone_is_compared_with_nothing() -> None:
    assert compare_systems([_run("ce"), _run("ce", 2)]) == []
    assert compare_systems([]) == []
    assert comparison_tables([]) == []


def test_runs_on_other_utterances_are_an_error() -> None:
    other = _run("square")
    renamed = replace(other.scores[0], ids=tuple(f"x{id}" for id in other.scores[0].ids))
    with pytest.raises(ValueError, match="square and ce of an4 test were scored on different"):
        compare_systems([_run("ce"), replace(other, scores=(renamed,))])


def test_a_metric_that_only_some_systems_have_is_compared_among_those() -> None:
    ids = [f"u{k}" for k in range(8)]
    stoi = mean_scores("stoi", ids=ids, groups=ids, values=np.linspace(0.5, 0.9, 8))
    mse = mean_scores("mse", ids=ids, groups=ids, values=np.linspace(0.1, 0.2, 8))
    dnn = ScoredRun(replace(RECORD, system="dnn"), (stoi, mse))
    higher = replace(stoi, sums=stoi.sums + np.array([0.05, 0.0]))
    noisy = ScoredRun(replace(RECORD, system="noisy"), (higher,))
    records = compare_systems([dnn, noisy])
    assert {r.metric.split("_")[0] for r in records} == {"stoi"}
    found = _values(records, "noisy")
    assert found["stoi_difference"] == pytest.approx(0.05)
    assert found["stoi_difference_speakers_low"] == pytest.approx(0.05)
    (table,) = comparison_tables(records)
    assert table.rows[0][2:5] == ["STOI", "+0.0500", "+0.0500 to +0.0500"]


def test_equal_systems_do_not_differ() -> None:
    same = _run("ce")
    twin = replace(same, record=replace(same.record, system="twin"))
    found = _values(compare_systems([same, twin]), "twin")
    assert found["wer_difference"] == 0.0
    assert found["wer_difference_p"] == 1.0
    (table,) = comparison_tables(compare_systems([same, twin]))
    assert table.rows[0][3] == "0.00"
    assert table.note.endswith("Not told apart from chance: twin: WER 0.00 points higher.")


def _only(run: ScoredRun, *, first: int, errors: int | None = None) -> ScoredRun:
    """The run on its first utterances, of which the first has other errors if they are given."""
    (scores,) = run.scores
    sums = scores.sums[:first].copy()
    if errors is not None:
        sums[0, 0] = errors
    kept = replace(scores, ids=scores.ids[:first], groups=scores.groups[:first], sums=sums)
    alignments = {id: run.alignments[id] for id in kept.ids if id in run.alignments}
    return replace(run, scores=(kept,), alignments=alignments)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_one_utterance_gives_a_difference_without_interval_and_a_sentence_why(
    seeds: tuple[int, ...],
) -> None:
    runs = [
        _only(_run(system, seed, aligned=True), first=1, errors=wrong)
        for system, wrong in (("ce", 4), ("square", 2))
        for seed in seeds
    ]
    records = compare_systems(runs)
    assert _values(records, "square")["wer_difference"] == pytest.approx(-10.0)
    interval = [r for r in records if r.metric.endswith(("_low", "_high", "_p")) and r.seed < 0]
    assert {r.value for r in interval} == {None}
    assert {r.reason for r in interval} == {
        "only one utterance: there is nothing to tell its spread from"
    }
    (table,) = comparison_tables(records)
    assert table.head[:4] == ["experiment", "system", "metric", "difference"]
    assert not any("95 %" in head or head.startswith("p") for head in table.head)
    assert table.rows[0][3] == "-10.00"
    assert table.note == (
        "Intervals and p values that are left out could not be had "
        "(only one utterance: there is nothing to tell its spread from)."
    )


def test_resamples_without_a_reference_token_cost_the_intervals_alone() -> None:
    runs = []
    for system, wrong in (("ce", 4), ("square", 2)):
        run = _only(_run(system), first=3, errors=wrong)
        sums = run.scores[0].sums
        sums[1:] = 0.0  # two utterances whose texts are empty
        runs.append(run)
    records = compare_systems(runs)
    assert _values(records, "square")["wer_difference"] == pytest.approx(-10.0)
    (table,) = comparison_tables(records)
    assert "the statistic is undefined in" in table.note


def test_a_rate_that_does_not_exist_has_a_reason_and_the_others_are_corrected() -> None:
    without = _only(_run("none"), first=2)
    without.scores[0].sums[:] = 0.0
    record = replace(without.record, condition="empty")
    base = replace(without, record=replace(record, system="ce"))
    runs = [_run("ce"), _run("square"), base, replace(without, record=record)]
    records = compare_systems(runs)
    (main,) = [r for r in records if r.system == "none" and r.metric == "wer_difference"]
    assert (main.value, main.reason) == (None, "the statistic of the data is not finite")
    assert _values(records, "square")["wer_difference_p_holm"] is not None
    assert len(comparison_tables(records)) == 2
