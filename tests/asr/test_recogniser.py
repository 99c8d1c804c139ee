"""A trained recogniser: its inputs, words and confidences, and the searches it can do."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from squall.engine.tasks import open_experiment
from training_runs import train

pytest.importorskip("espnet2")

from squall.asr.bridge.espnet import TooShortUttError
from squall.asr.decoding import load_recogniser
from squall.asr.recogniser import MIN_SAMPLES, Hypothesis, Recogniser
from squall.asr.search import Found
from squall.asr.settings import RecognitionConfig
from squall.engine.experiment import Experiment


def _recogniser(experiment: Experiment, **settings: Any) -> Recogniser:
    loss = {"loss__name": experiment.config.loss.name}
    return Recogniser(tiny.config(**loss, **settings), experiment.directory / "train")


@pytest.fixture(scope="module")
def recogniser(trained: Experiment) -> Recogniser:
    return load_recogniser(trained, device="cpu", threads=1)


def _assert_sound(found: Hypothesis) -> None:
    assert [word.text for word in found.words] == found.text.split()
    assert all(0 <= word.confidence <= 1 for word in found.words)
    assert 0 <= found.confidence <= 1
    assert not {"<sos/eos>", "<blank>"} & set(found.tokens)


@pytest.mark.parametrize("count", [0, 1, MIN_SAMPLES - 1])
def test_too_short_input_is_refused(recogniser: Recogniser, count: int) -> None:
    with pytest.raises(ValueError, match=r"at least 1600 samples \(0\.1 s\)"):
        recogniser(np.zeros(count, dtype=np.float32))


def test_shortest_input_is_taken(recogniser: Recogniser) -> None:
    rng = np.random.default_rng(0)
    _assert_sound(recogniser(rng.normal(0, 0.1, MIN_SAMPLES).astype(np.float32)))


def test_stereo_input_is_refused(recogniser: Recogniser) -> None:
    with pytest.raises(ValueError, match=r"mono audio, got \(16000, 2\)"):
        recogniser(np.zeros((16000, 2), dtype=np.float32))


def test_input_too_short_for_the_encoder_is_a_value_error(
    recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise TooShortUttError("needs 15 frames", 11, 15)

    monkeypatch.setattr(recogniser.model, "encode", refuse)
    with pytest.raises(ValueError, match="2000 samples are too short: needs 15 frames"):
        recogniser(np.zeros(2000, dtype=np.float32))


def test_words_have_confidences(trained: Experiment, recogniser: Recogniser) -> None:
    found = recogniser(tiny.first_test_samples(trained))
    assert found.words
    _assert_sound(found)


@pytest.mark.slow
def test_the_same_audio_gives_the_same_hypothesis(
    trained: Experiment, recogniser: Recogniser
) -> None:
    first = recogniser(tiny.first_test_samples(trained))
    assert recogniser(tiny.first_test_samples(trained)) == first
    assert (
        load_recogniser(trained, device="cpu", threads=1)(tiny.first_test_samples(trained)) == first
    )


def test_confidences_are_products_of_token_probabilities(recogniser: Recogniser) -> None:
    tokens = ["A", "B", "<space>", "C"]
    words = recogniser._words(tokens, [0.5, 0.5, 0.5, 0.25])
    assert [(word.text, word.confidence) for word in words] == [("AB", 0.125), ("C", 0.25)]


def test_marks_that_stand_for_nothing_are_left_out(
    trained: Experiment, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = recogniser.tokens.index("A")
    blank, eos = recogniser.model.blank_id, recogniser.model.eos
    found = Found((a, blank, a, eos, eos), -1.0)
    monkeypatch.setattr(recogniser, "_search", lambda *_: [found])
    hypothesis = recogniser(tiny.first_test_samples(trained))
    assert hypothesis.tokens == ("A", "A")
    assert hypothesis.text == "AA"
    _assert_sound(hypothesis)


@pytest.mark.parametrize("spoken", ["", "A", "AB"])
def test_the_probability_of_a_sequence_has_one_end_mark_in_it(
    trained: Experiment, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch, spoken: str
) -> None:
    model, tokens = recogniser.model, [recogniser.tokens.index(letter) for letter in spoken]
    encoded = recogniser.encode(tiny.first_test_samples(trained))
    found = []
    for marks in (1, 2):
        result = Found((*tokens, *[model.eos] * marks), -1.0)
        monkeypatch.setattr(recogniser, "_search", lambda *_, result=result: [result])
        found.append(recogniser.search(encoded).probability)
    logits, ids = recogniser.forced_logits(encoded, spoken)
    clipped = logits.clamp(min=recogniser.config.decode.floor)  # of the square loss, M = 1
    by_hand = (clipped / clipped.sum(dim=-1, keepdim=True))[range(len(ids)), ids].prod()
    assert found == pytest.approx([float(by_hand)] * 2, rel=1e-5)


def test_an_empty_text_has_one_probability_whatever_the_longest_length(trained: Experiment) -> None:
    samples = tiny.first_test_samples(trained)
    frames = _recogniser(trained).encode(samples).size(1)
    found = []
    for longest in (1, 2, 3):
        ratio = (longest + 0.5) / frames
        recogniser = _recogniser(trained, decode__maxlenratio=ratio, decode__ctc_weight=0.0)
        recogniser.model.decoder.output_layer.bias.data[recogniser.model.eos] += 9.0
        hypothesis = recogniser(samples)
        assert hypothesis.text == ""
        found.append(hypothesis.probability)
    assert found == pytest.approx([found[-1]] * 3)


def test_a_search_that_finds_nothing_gives_an_empty_hypothesis(
    trained: Experiment, recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser, "_search", lambda *_: [None])
    found = recogniser(tiny.first_test_samples(trained))
    assert (found.text, found.words, found.confidence) == ("", (), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("units", ["char", "bpe", "word"])
def test_words_of_every_unit_are_those_of_the_text(
    demo_corpus: Path, tmp_path: Path, units: str
) -> None:
    settings = tiny.config(tokens={"units": units, "vocabulary_size": 40}, espnet__max_epoch=1)
    experiment, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=tmp_path, last=5)
    recogniser = load_recogniser(experiment, device="cpu", threads=1)
    _assert_sound(recogniser(tiny.first_test_samples(experiment)))
    rng = np.random.default_rng(0)
    inner = recogniser.tokens[1:-1]
    for _ in range(50):
        tokens = [inner[k] for k in rng.integers(0, len(inner), rng.integers(1, 12))]
        text = recogniser._text(tokens)
        words = recogniser._words(tokens, [0.5] * len(tokens))
        assert " ".join(word.text for word in words) == text, tokens


def test_weights_of_another_model_are_refused(trained: Experiment, tmp_path: Path) -> None:
    shutil.copytree(trained.directory / "train", tmp_path / "train")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "train" / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth does not hold this model's weights"):
        Recogniser(trained.config, tmp_path / "train")


def test_an_experiment_without_training_is_refused(prepared: Experiment) -> None:
    with pytest.raises(FileNotFoundError, match=r"run stage 5 \(train\) first"):
        load_recogniser(prepared, device="cpu", threads=1)


@pytest.mark.slow
def test_an_experiment_can_be_moved(demo_corpus: Path, tmp_path: Path) -> None:
    settings = tiny.config(espnet__max_epoch=1)
    here, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=tmp_path / "exp", last=5)
    samples = tiny.first_test_samples(here)
    expected = load_recogniser(here, device="cpu", threads=1)(samples)
    moved = tmp_path / "elsewhere" / "experiment"
    moved.parent.mkdir()
    here.directory.rename(moved)
    found = load_recogniser(open_experiment(moved, RecognitionConfig), device="cpu", threads=1)
    assert found(samples) == expected


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["softmax", "clipped"])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.5, 1.0])
def test_every_search_runs(trained: Experiment, posterior: str, ctc_weight: float) -> None:
    search = {"decode__posterior": posterior, "decode__ctc_weight": ctc_weight}
    _assert_sound(_recogniser(trained, **search)(tiny.first_test_samples(trained)))


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
def test_a_beam_wider_than_the_vocabulary_is_cut_and_it_is_said(
    trained: Experiment, ctc_weight: float, caplog: pytest.LogCaptureFixture
) -> None:
    samples = tiny.first_test_samples(trained)[:8000]
    wide = _recogniser(trained, decode__ctc_weight=ctc_weight, decode__beam_size=100)
    count = len(wide.tokens)
    assert f"decode.beam_size 100: cut to {count} tokens" in caplog.text
    cut = _recogniser(trained, decode__ctc_weight=ctc_weight, decode__beam_size=count)
    assert wide(samples) == cut(samples)


def test_the_form_of_the_posterior_changes_the_scores(trained: Experiment) -> None:
    scores = {
        _recogniser(trained, decode__posterior=form, decode__ctc_weight=0.0)(
            tiny.first_test_samples(trained)
        ).score
        for form in ("softmax", "clipped")
    }
    assert len(scores) == 2


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["softmax", "clipped"])
def test_an_rnn_decoder_is_searched_with_either_posterior(
    demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory, posterior: str
) -> None:
    exp_dir = tmp_path_factory.getbasetemp() / "rnn"
    settings = tiny.config(loss__name="square", decode__posterior=posterior, **_rnn())
    experiment, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=exp_dir, last=5)
    found = load_recogniser(experiment, device="cpu", threads=1)(
        tiny.first_test_samples(experiment)
    )
    assert found.tokens
    _assert_sound(found)


def _rnn() -> dict[str, Any]:
    return {key.replace(".", "__"): value for key, value in tiny.RNN.items()}


def test_what_a_model_of_logit_norm_says_is_the_softmax_of_its_normalised_logits(
    trained: Experiment,
) -> None:
    settings: dict[str, Any] = {"decode__ctc_weight": 0.0, "decode__maxlenratio": 0.5}
    plain, normalised = (
        Recogniser(tiny.config(loss__name=name, **settings), trained.directory / "train")
        for name in ("ce", "logit_norm")
    )
    samples = tiny.first_test_samples(trained)
    encoded = normalised.encode(samples)
    logits, ids = plain.forced_logits(encoded, "A B")
    expected = logits / logits.norm(dim=-1, keepdim=True) / 0.04
    found, _ = normalised.forced_logits(encoded, "A B")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    probs = expected.softmax(-1)[range(len(ids)), ids].tolist()
    assert normalised._token_probs(encoded, ids) == pytest.approx(probs, rel=1e-3)
    (best,) = normalised._search(encoded, torch.tensor([encoded.size(1)]))
    # A hypothesis of the longest length gets its last mark without a score.
    ids = list(best.ids[: int(0.5 * encoded.size(1))])
    total = math.fsum(map(math.log, normalised._token_probs(encoded, ids)))
    assert float(best.score) == pytest.approx(total, rel=1e-3)


def test_ctc_in_the_search_needs_a_model_trained_with_it(
    prepared: Experiment, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"espnet__model_conf": {"ctc_weight": 0.0}, "espnet__max_epoch": 1}
    train(prepared, tiny.config(**settings), tmp_path / "train")
    with pytest.raises(ValueError, match=r"trained without CTC.*set it to 0"):
        Recogniser(tiny.config(**settings), tmp_path / "train")
    without = Recogniser(tiny.config(**settings, decode__ctc_weight=0.0), tmp_path / "train")
    _assert_sound(without(tiny.first_test_samples(prepared)))


def test_the_number_of_weights_counts_what_is_trained(recogniser: Recogniser) -> None:
    trainable = [weight for weight in recogniser.model.parameters() if weight.requires_grad]
    assert recogniser.parameters == sum(weight.numel() for weight in trainable)
    assert recogniser.parameters < sum(w.numel() for w in recogniser.model.state_dict().values())


def test_language_model_needs_its_settings(trained: Experiment) -> None:
    with pytest.raises(ValueError, match=r"lm_weight is 0\.5, but the experiment has no language"):
        _recogniser(trained, decode__lm_weight=0.5)
