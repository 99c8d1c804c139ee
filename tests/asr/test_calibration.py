"""Confidence of tokens, words and utterances: judged by hand, and through a trained recogniser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from squall.asr.calibration import (
    Judged,
    SplitCalibration,
    calibrate_splits,
    judge_sequences,
    judge_tokens,
    judge_words,
    read_hypotheses,
    read_token_gaps,
    read_token_nlls,
    write_calibration,
)
from squall.asr.forced_logits import ForcedLogits, read_forced, write_forced
from squall.corpora.manifest import Utterance, read_manifest
from squall.engine.experiment import Experiment
from squall.report.levels import read_bins, read_risks
from squall.report.records import read_records

PLAIN = {"accuracy", "ece", "ece_adaptive", "mce", "brier", "nll"}
REFINED = {"nll_refinement", "nll_calibration", "brier_refinement", "brier_calibration"}
TOKENS = ["<blank>", "<unk>", "A", "B", "<space>", "<sos/eos>"]


def _pairs(judged: Judged) -> list[tuple[float, bool]]:
    return list(zip(judged.confidences.tolist(), judged.correct.tolist(), strict=True))


def test_recognised_tokens_are_right_where_the_alignment_pairs_them() -> None:
    hypothesis = {"tokens": ["A", "B", "B"], "token_probs": [0.9, 0.8, 0.3]}
    found = judge_tokens([["A", "B", "A"]], [hypothesis])
    assert _pairs(found) == [(0.9, True), (0.8, True), (0.3, False)]


def test_an_inserted_token_is_wrong_and_a_left_out_one_is_not_scored() -> None:
    inserted = {"tokens": ["A", "A"], "token_probs": [0.6, 0.5]}
    assert sorted(right for _, right in _pairs(judge_tokens([["A"]], [inserted]))) == [False, True]
    short = {"tokens": ["B"], "token_probs": [0.7]}
    assert _pairs(judge_tokens([["A", "B"]], [short])) == [(0.7, True)]


def test_an_unknown_token_is_never_right() -> None:
    hypothesis = {"tokens": ["<unk>"], "token_probs": [0.9], "probability": 0.9}
    assert _pairs(judge_tokens([["<unk>"]], [hypothesis])) == [(0.9, False)]
    assert _pairs(judge_sequences([["<unk>"]], [hypothesis])) == [(0.9, False)]


def test_words_are_judged_by_their_own_alignment() -> None:
    words = [{"text": "A", "confidence": 0.9}, {"text": "BB", "confidence": 0.2}]
    assert _pairs(judge_words(["A B"], [{"words": words}])) == [(0.9, True), (0.2, False)]


def test_an_utterance_is_right_where_every_token_is() -> None:
    hypotheses = [{"tokens": ["A"], "probability": 0.9}, {"tokens": [], "probability": 0.5}]
    assert _pairs(judge_sequences([["A"], ["B"]], hypotheses)) == [(0.9, True), (0.5, False)]


def test_nothing_recognised_is_nothing_to_score() -> None:
    empty = {"tokens": [], "token_probs": [], "words": [], "probability": 0.0}
    assert _pairs(judge_tokens([["A"]], [empty])) == []
    assert np.isnan(judge_words(["A"], [empty]).score().ece)


def test_each_judgement_knows_its_utterance() -> None:
    hypotheses = [
        {"tokens": ["A", "B"], "token_probs": [0.9, 0.8], "probability": 0.7, "words": []},
        {"tokens": [], "token_probs": [], "probability": 0.5, "words": []},
        {"tokens": ["B"], "token_probs": [0.4], "probability": 0.4},
    ]
    hypotheses[2]["words"] = [{"text": "B", "confidence": 0.4}]
    assert judge_tokens([["A"], ["A"], ["B"]], hypotheses).utterances.tolist() == [0, 0, 2]
    assert judge_words(["A", "A", "B"], hypotheses).utterances.tolist() == [2]
    assert judge_sequences([["A"], ["A"], ["B"]], hypotheses).utterances.tolist() == [0, 1, 2]


def _utterance(id: str, text: str) -> Utterance:
    return Utterance(id, f"{id}.wav", 0.0, 1.0, 16000, "s1", text)


def _decoded(folder: Path, texts: list[str], logit: float) -> list[Utterance]:
    """A split whose decoder gives the true token this logit, and every other one 0."""
    utterances = [_utterance(f"u{k}", text) for k, text in enumerate(texts)]
    parts, lines = [], []
    for utterance in utterances:
        tokens = ["<space>" if c == " " else c for c in utterance.text]
        targets = np.array([*map(TOKENS.index, tokens), len(TOKENS) - 1])
        logits = np.zeros((len(targets), len(TOKENS)), dtype=np.float32)
        logits[np.arange(len(targets)), targets] = logit
        parts.append(ForcedLogits(logits, targets, np.array([len(targets)])))
        words = [{"text": word, "confidence": 0.75} for word in utterance.text.split()]
        lines.append(
            {
                "id": utterance.id,
                "text": utterance.text,
                "tokens": tokens,
                "token_probs": [0.75] * len(tokens),
                "words": words,
                "probability": 0.5,
            }
        )
    folder.mkdir(parents=True)
    write_forced(folder / "forced.npz", parts, tokens=TOKENS)
    (folder / "hypotheses.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return utterances


def _calibrate(folder: Path, loss: str = "ce", **splits: float) -> dict[str, SplitCalibration]:
    found = {name: _decoded(folder / name, ["A B", "B"], logit) for name, logit in splits.items()}
    return calibrate_splits(tiny.config("demo", loss__name=loss), found, folder)


def test_every_level_of_a_split_is_scored(tmp_path: Path) -> None:
    levels = _calibrate(tmp_path, test=1.0)["test"].levels
    assert levels.keys() == {"token", "hypothesis", "word", "sequence"}
    samples = {name: level.samples for name, level in levels.items()}
    assert samples == {"token": 6, "hypothesis": 4, "word": 3, "sequence": 2}
    assert levels["token"].nll == pytest.approx(np.log(5 + np.e) - 1)
    assert levels["word"].ece == pytest.approx(0.25)
    assert levels["sequence"].ece == pytest.approx(0.5)
    assert levels["hypothesis"].accuracy == 1.0


def test_temperatures_are_fitted_on_dev_and_used_on_the_others(tmp_path: Path) -> None:
    found = _calibrate(tmp_path, dev=1.0, test=1.0)
    assert found["dev"].temperatures == {}
    assert found["dev"].levels.keys() == {"token", "hypothesis", "word", "sequence"}
    scaled = found["test"].levels
    assert {"token-scaled", "word-scaled"} <= scaled.keys()
    assert found["test"].temperatures["token-scaled"] < 1.0  # all are right: more confidence
    assert scaled["token-scaled"].nll < scaled["token"].nll
    assert scaled["token-scaled"].accuracy == scaled["token"].accuracy
    assert scaled["word-scaled"].ece < scaled["word"].ece


def test_the_clipped_posterior_is_scored_where_it_is_decoded_with(tmp_path: Path) -> None:
    levels = _calibrate(tmp_path, "square", test=1.0)["test"].levels
    floor = tiny.config("demo").decode.floor
    clipped = levels["token-clipped"]
    assert clipped.nll == pytest.approx(np.log(1 + 5 * floor))
    assert clipped.ece < levels["token"].ece
    assert clipped.accuracy == levels["token"].accuracy == 1.0


@pytest.mark.parametrize("damage", ["lost", "cut", "others"])
def test_files_that_do_not_fit_are_named(tmp_path: Path, damage: str) -> None:
    utterances = _decoded(tmp_path / "test", ["A B", "B"], 1.0)
    path = tmp_path / "test" / "hypotheses.jsonl"
    lines = path.read_text().splitlines()
    if damage == "lost":
        path.write_text(lines[0] + "\n")
    elif damage == "cut":
        path.write_text("\n".join(json.dumps({"id": f"u{k}", "tokens": []}) for k in (0, 1)))
    else:
        utterances = [_utterance("x", "A")]
    with pytest.raises(ValueError, match=r"hypotheses\.jsonl does not fit its references.*--force"):
        calibrate_splits(tiny.config("demo"), {"test": utterances}, tmp_path)


@pytest.mark.parametrize("content", [b'{"id": "u1"', b'{"text": "\xff"}', b"\n"])
def test_damaged_hypotheses_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hypotheses.jsonl"
    path.write_bytes(b'{"id": "u0"}\n' + content)
    with pytest.raises(ValueError, match=r"hypotheses\.jsonl is damaged: .*--stage 6 --force"):
        read_hypotheses(path)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    _decoded(tmp_path / "test", ["A"], 1.0)
    path = tmp_path / "test" / "forced.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"forced\.npz is damaged: .*--stage 6 --force"):
        read_forced(path)


def test_bins_are_read_back(tmp_path: Path) -> None:
    found = _calibrate(tmp_path, test=1.0)["test"]
    write_calibration(tmp_path / "test.calibration.json", found)
    bins = read_bins(tmp_path / "test.calibration.json")
    assert bins.keys() == found.levels.keys()
    for name, level in found.levels.items():
        assert bins[name].ece == level.ece
        assert bins[name].samples == level.samples
    written = json.loads((tmp_path / "test.calibration.json").read_text())
    assert written["levels"]["word"]["brier"] == found.levels["word"].brier
    (tmp_path / "test.calibration.json").write_text("{}")
    with pytest.raises(ValueError, match=r"test\.calibration\.json is damaged"):
        read_bins(tmp_path / "test.calibration.json")


def test_details_are_those_of_the_pure_functions(tmp_path: Path) -> None:
    found = _calibrate(tmp_path, dev=1.0, test=1.0)["test"]
    assert found.details.keys() == {"token", "hypothesis", "word", "sequence"}
    forced, _ = read_forced(tmp_path / "test" / "forced.npz")
    # The two utterances have 4 and 2 tokens, all right: the temperature falls to its bound.
    refined = -np.log([*[(2 + 1 / 6) / 3] * 4, *[(4 + 1 / 6) / 5] * 2])
    token = found.metrics("token")
    assert token["nll_refinement"] == pytest.approx(refined.mean())
    assert token["nll_calibration"] == pytest.approx(token["nll"] - refined.mean())
    assert token["smooth_ece"] == pytest.approx(1 - np.e / (5 + np.e))
    assert token["aurc"] == token["e_aurc"] == 0.0
    assert np.isnan(found.metrics("word")["nce"])
    plain = np.log(5 + np.e) - 1
    assert found.token_nlls == pytest.approx(
        np.array([[4 * plain, refined[:4].sum(), 4], [2 * plain, refined[4:].sum(), 2]])
    )
    assert forced.lengths.tolist() == [4, 2]
    assert found.metrics("token-scaled").keys() == PLAIN


def test_a_single_utterance_has_no_refinement(tmp_path: Path) -> None:
    utterances = _decoded(tmp_path / "test", ["A B"], 1.0)
    found = calibrate_splits(tiny.config("demo"), {"test": utterances}, tmp_path)["test"]
    token = found.metrics("token")
    assert all(np.isnan(token[metric]) for metric in REFINED)
    assert token["nll"] == pytest.approx(np.log(5 + np.e) - 1)
    write_calibration(tmp_path / "test.calibration.json", found)
    nlls = read_token_nlls(tmp_path / "test.calibration.json")
    assert nlls is not None
    assert np.isnan(nlls[:, 1]).all()


def test_sums_and_risks_are_read_back(tmp_path: Path) -> None:
    found = _calibrate(tmp_path, test=1.0)["test"]
    path = tmp_path / "test.calibration.json"
    write_calibration(path, found)
    assert read_token_nlls(path) == pytest.approx(found.token_nlls, abs=1e-9)
    risks = read_risks(path)
    assert risks.keys() == {"token", "hypothesis", "word", "sequence"}
    assert risks["word"].tolist() == [0.0] * 100
    written = json.loads(path.read_text())
    assert written["levels"]["token"]["aurc"] == 0.0
    written["token_nlls"] = {"u1": 1}
    path.write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"test\.calibration\.json is damaged"):
        read_token_nlls(path)


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    found = _calibrate(tmp_path, test=1.0)["test"]
    path = tmp_path / "test.calibration.json"
    write_calibration(path, SplitCalibration(found.levels, {}, found.token_gaps))
    written = json.loads(path.read_text())
    assert written.keys() == {"levels", "temperatures", "token_gaps"}
    assert written["levels"]["token"].keys() == {"samples", "bins", *PLAIN}
    assert read_token_nlls(path) is None
    assert read_risks(path) == {}
    assert read_bins(path).keys() == found.levels.keys()
    assert read_token_gaps(path) == pytest.approx(found.token_gaps)


def _test_split(experiment: Experiment[Any]) -> list[Utterance]:
    (path,) = (experiment.recipe_dir / "shared").glob("data-*/test.jsonl")
    return sorted(read_manifest(path), key=lambda utterance: utterance.id)


def test_forced_tokens_are_those_of_the_training(trained: Experiment[Any]) -> None:
    """Accuracy and end mark as ESPnet counts them when it trains."""
    pytest.importorskip("espnet2")
    from squall.asr.decoding import load_recogniser

    recogniser = load_recogniser(trained, device="cpu", threads=1)
    forced, names = read_forced(trained.variant_dir("decode") / "test" / "forced.npz")
    assert names == recogniser.tokens
    utterances = _test_split(trained)
    assert len(forced.lengths) == len(utterances)
    first = slice(0, int(forced.lengths[0]))
    targets = forced.targets[first]
    assert [names[k] for k in targets[:-1]] == [
        "<space>" if c == " " else c for c in utterances[0].text
    ]
    assert names[targets[-1]] == "<sos/eos>"
    encoded = recogniser.encode(tiny.first_test_samples(trained))
    with torch.no_grad():
        _, accuracy, _, _ = recogniser.model._calc_att_loss(
            encoded,
            torch.tensor([encoded.size(1)]),
            torch.tensor(targets[None, :-1]),
            torch.tensor([len(targets) - 1]),
        )
    ours = (forced.logits[first].argmax(axis=1) == targets).mean()
    assert ours == pytest.approx(float(accuracy))


def test_a_recipe_records_the_calibration_of_its_test_set(trained: Experiment[Any]) -> None:
    found = {
        (record.condition, record.metric): record for record in read_records(trained.result_path)
    }
    levels = {condition for condition, _ in found if "/" in condition}
    expected = {"token", "token-clipped", "hypothesis", "word", "sequence"}
    assert levels == {f"test/{level}" for level in expected}
    metrics = {metric for condition, metric in found if condition == "test/token"}
    assert metrics == {*PLAIN, *REFINED, "smooth_ece", "aurc", "e_aurc"}
    assert {metric for condition, metric in found if condition == "test/token-clipped"} == PLAIN
    metrics = {metric for condition, metric in found if condition == "test/word"}
    isotonic = {f"{metric}_isotonic" for metric in REFINED}
    assert metrics == {*PLAIN, *REFINED, *isotonic, "smooth_ece", "aurc", "e_aurc", "nce"}
    for score in ("nll", "brier"):
        whole, *parts = (
            found["test/token", f"{score}{part}"].number
            for part in ("", "_refinement", "_calibration")
        )
        assert sum(parts) == pytest.approx(whole)
    assert found["test/token", "smooth_ece"].unit == found["test/token", "aurc"].unit == "%"
    assert found["test/token", "ece"].unit == "%"
    assert found["test/token", "nll"].unit == "nats"
    tokens = sum(len(utterance.text) + 1 for utterance in _test_split(trained))
    assert found["test/token", "ece"].n == tokens
