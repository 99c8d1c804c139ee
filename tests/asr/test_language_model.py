"""The language model: trained once on the training text, and heard in the beam search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny

pytest.importorskip("espnet2")

from squall.asr import language_model
from squall.asr.decoding import load_recogniser
from squall.asr.language_model import load_language_model, train_language_model
from squall.asr.recogniser import Recogniser
from squall.asr.settings import RecognitionConfig
from squall.engine.experiment import Experiment

# What the module trains is trained by one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("language model")]

LANGUAGE_MODEL = {"lm__espnet": tiny.LANGUAGE_MODEL}


def _with_language_model(**settings: Any) -> RecognitionConfig:
    return tiny.config(espnet__max_epoch=1, **LANGUAGE_MODEL, **settings)


@pytest.fixture(scope="module")
def fused(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment with a language model, decoded with it."""
    exp_dir = tmp_path_factory.mktemp("fused")
    settings = _with_language_model(decode__lm_weight=0.5)
    return tiny.run(settings, corpus=demo_corpus, exp_dir=exp_dir)[0]


def test_language_model_takes_part_in_the_search(fused: Experiment) -> None:
    samples = tiny.first_test_samples(fused)
    lm_dir, train_dir = fused.directory / "lm", fused.directory / "train"
    scores = {
        weight: Recogniser(
            _with_language_model(decode__lm_weight=weight), train_dir, lm_dir=lm_dir
        )(samples).score
        for weight in (0.0, 0.5, 2.0)
    }
    assert len(set(scores.values())) == 3
    assert load_recogniser(fused, device="cpu", threads=1)(samples).score == scores[0.5]


def test_a_missing_language_model_is_named(fused: Experiment, tmp_path: Path) -> None:
    train_dir = fused.directory / "train"
    with pytest.raises(FileNotFoundError, match=r"config\.yaml is missing: .*from stage 4 \(lm\)"):
        Recogniser(fused.config, train_dir, lm_dir=tmp_path / "lm")


def test_the_language_model_is_trained_once_and_not_for_the_recogniser(
    fused: Experiment, demo_corpus: Path
) -> None:
    def again(**settings: Any) -> list[str]:
        exp_dir = fused.recipe_dir.parent
        return tiny.run(_with_language_model(**settings), corpus=demo_corpus, exp_dir=exp_dir)[1]

    assert again(decode__lm_weight=0.5) == ["0 check"]
    assert again(decode__lm_weight=0.2) == ["0 check", "6 decode", "7 score"]
    model = next((fused.recipe_dir / "shared").glob("lm-*/lm/model.pth"))
    weights = torch.load(model, weights_only=True)
    torch.save({key: value + 1 for key, value in weights.items()}, model)
    # It is not what the stage wrote, which writes it again: what was decoded with it stays.
    assert again(decode__lm_weight=0.5) == ["0 check", "4 lm"]
    again_weights = torch.load(model, weights_only=True)
    assert all(torch.equal(again_weights[key], value) for key, value in weights.items())


def test_a_language_model_of_other_text_is_trained_anew(fused: Experiment, tmp_path: Path) -> None:
    (tokens_dir,) = (fused.recipe_dir / "shared").glob("tokens-*")
    for text in ("one", "one", "two"):
        train_language_model(
            fused.config,
            tokens_dir=tokens_dir,
            output_dir=tmp_path / "lm",
            device="cpu",
            threads=1,
            fingerprint={"inputs": text},
            on_progress=lambda done, total, message: None,
        )
    assert (tmp_path / "lm.before-1" / "model.pth").exists()
    assert not (tmp_path / "lm.before-2").exists()


def test_the_name_of_the_text_is_a_setting_and_its_place_is_not() -> None:
    def named(text: str | None, **further: str) -> str:
        lm = {"espnet": LANGUAGE_MODEL["lm__espnet"], "text": text, **further}
        return tiny.config(lm=lm).directory_name

    without = tiny.config(**LANGUAGE_MODEL).directory_name
    assert named(None) == without
    assert named(None, text_checksum="md5:0") == without
    assert named("books.txt") != without
    assert named("books.txt") != named("other.txt")
    for place in ("/data/books.txt", "https://host/books.txt"):
        assert named(place, text_checksum="md5:0") == named("books.txt")
    for text, url in (("a/b.txt", None), ("https://host/b", "https://host/b")):
        lm = tiny.config(lm={"espnet": {}, "text": text}).lm
        assert lm is not None
        assert lm.text_url == url


def _train_on(text: Path, fused: Experiment, output_dir: Path, epochs: int) -> list[str]:
    """Train on a text, with the tokens of the experiment; the messages."""
    (tokens_dir,) = (fused.recipe_dir / "shared").glob("tokens-*")
    espnet = {
        **LANGUAGE_MODEL["lm__espnet"],
        "max_epoch": epochs,
        "optim": "adam",
        "optim_conf": {"lr": 0.05},
    }
    told: list[str] = []
    train_language_model(
        tiny.config(lm__espnet=espnet),
        tokens_dir=tokens_dir,
        output_dir=output_dir,
        device="cpu",
        threads=1,
        fingerprint={},
        on_progress=lambda done, total, message: told.append(message),
        text=text,
    )
    return told


def _next_token(lm_dir: Path, fused: Experiment, spoken: str) -> str:
    """The likeliest character after others."""
    (tokens_dir,) = (fused.recipe_dir / "shared").glob("tokens-*")
    tokens = (tokens_dir / "tokens.txt").read_text().splitlines()
    ids = torch.tensor([len(tokens) - 1, *(tokens.index(char) for char in spoken)])
    scores, _ = load_language_model(lm_dir, "cpu", tokens=tokens).score(ids, None, None)
    return tokens[int(scores.argmax())]


@pytest.mark.parametrize("lines_per_part", [1000, 7])
def test_a_text_takes_the_place_of_the_transcripts(
    fused: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines_per_part: int
) -> None:
    monkeypatch.setattr(language_model, "LINES_PER_PART", lines_per_part)
    text = tmp_path / "text.txt"
    text.write_text("GGGGGGGGGGGG\n" * 20 + "gg\n")
    told = _train_on(text, fused, tmp_path / "lm", epochs=6)
    (transcribed,) = (fused.recipe_dir / "shared").glob("lm-*/lm")
    assert _next_token(tmp_path / "lm", fused, "GG") == "G"
    assert _next_token(transcribed, fused, "GG") != "G"
    assert any("text.txt: 21 lines; 1 lines have what is not in the token list" in t for t in told)

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("split.*")}
    parts = 1 if lines_per_part > 21 else 3
    assert len(written) == 2 * parts  # the lines, and how many tokens each has
    told = _train_on(text, fused, tmp_path / "lm", epochs=7)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("split.*")} == written
    assert next(message for message in told if message.startswith("epoch")) == "epoch 7"
    assert not (tmp_path / "lm.before-1").exists()


WORDS = {
    "lm__units": "word",
    "lm__espnet": {
        "max_epoch": 1,
        "lm": "seq_rnn",
        "lm_conf": {"unit": 8, "nlayers": 1},
        "batch_type": "sorted",
        "batch_size": 8,
        "use_tensorboard": False,
    },
}


@pytest.fixture(scope="module")
def with_words(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment with a language model over words, decoded with it."""
    settings = tiny.config(espnet__max_epoch=1, decode__lm_weight=0.5, **WORDS)
    exp_dir = tmp_path_factory.mktemp("words")
    return tiny.run(settings, corpus=demo_corpus, exp_dir=exp_dir)[0]


def test_a_language_model_over_words_takes_part_in_the_search(with_words: Experiment) -> None:
    (tokens_dir,) = (with_words.recipe_dir / "shared").glob("tokens-*")
    lines = (tokens_dir / "train" / "text").read_text().splitlines()
    spoken = {word for line in lines for word in line.split()[1:]}
    (lm_dir,) = (with_words.recipe_dir / "shared").glob("lm-*/lm")
    listed = (lm_dir / "words.txt").read_text().splitlines()
    assert listed == ["<blank>", "<unk>", *sorted(spoken), "<sos/eos>"]

    samples = tiny.first_test_samples(with_words)
    train_dir = with_words.directory / "train"
    scores = {
        weight: Recogniser(
            tiny.config(decode__lm_weight=weight, **WORDS),
            train_dir,
            lm_dir=with_words.directory / "lm",
        )(samples).score
        for weight in (0.0, 0.5, 2.0)
    }
    assert len(set(scores.values())) == 3
    assert load_recogniser(with_words, device="cpu", threads=1)(samples).score == scores[0.5]


def test_a_language_model_that_does_not_fit_is_named(
    fused: Experiment, with_words: Experiment
) -> None:
    (tokens_dir,) = (fused.recipe_dir / "shared").glob("tokens-*")
    tokens = (tokens_dir / "tokens.txt").read_text().splitlines()
    fewer = [token for token in tokens if token != "E"]
    place = tokens.index("E")
    characters, words = fused.directory / "lm", with_words.directory / "lm"
    for lm_dir, of, units, reason in (
        (characters, fewer, "tokens", f"of the recogniser: 'E' .* at place {place}; train"),
        (characters, tokens[:-1], "tokens", "'<sos/eos>' instead of None"),
        (words, tokens, "tokens", f"which are not the {len(tokens)} of the recogniser: "),
        (characters, tokens, "word", "not over words, as lm.units says, but char: train"),
        (words, fewer, "word", "does not fit the recogniser, its word '.*E.*' has 'E'"),
    ):
        with pytest.raises(ValueError, match=rf"{lm_dir / 'config.yaml'}: .*{reason}"):
            load_language_model(lm_dir, "cpu", tokens=of, units=units)


def test_a_vocabulary_of_another_model_is_refused(with_words: Experiment, tmp_path: Path) -> None:
    lm_dir = with_words.directory / "lm"
    listed = (lm_dir / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(listed.replace("- <unk>\n", "- <unk>\n- AAA\n"))
    (tmp_path / "model.pth").write_bytes((lm_dir / "model.pth").read_bytes())
    with pytest.raises(ValueError, match=r"model\.pth does not hold this model's weights"):
        load_language_model(tmp_path, "cpu", tokens=["<blank>", "<sos/eos>"], units="word")


def test_words_are_those_most_frequent_in_the_text(with_words: Experiment, tmp_path: Path) -> None:
    (tokens_dir,) = (with_words.recipe_dir / "shared").glob("tokens-*")
    text = tmp_path / "text.txt"
    text.write_text("ONE ONE TWO\nTHREE TWO TWO\n" * 4)
    for size, listed in ((2, ["ONE", "TWO"]), (3, ["ONE", "THREE", "TWO"])):
        told: list[str] = []
        output_dir = tmp_path / str(size)
        train_language_model(
            tiny.config(lm__vocabulary_size=size, **WORDS),
            tokens_dir=tokens_dir,
            output_dir=output_dir,
            device="cpu",
            threads=1,
            fingerprint={},
            on_progress=lambda done, total, message, told=told: told.append(message),  # type: ignore[misc]
            text=text,
        )
        assert (output_dir / "words.txt").read_text().splitlines()[2:-1] == listed
        assert any(message.startswith(f"vocabulary: {size} of 3 words, ") for message in told)
