"""Recognition settings: what names an experiment, and what the units are to ESPnet."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from squall.asr.settings import RecognitionConfig, TokensConfig

PLAIN: dict[str, Any] = {
    "recipe": "toy",
    "experiment": "small",
    "corpus": {"name": "demo"},
    "espnet": {"max_epoch": 3, "optim_conf": {"lr": 0.1}},
}


def _config(**settings: Any) -> RecognitionConfig:
    return RecognitionConfig.model_validate(PLAIN | settings)


def test_the_name_of_an_experiment_is_the_same_as_ever() -> None:
    assert _config().directory_name == "small-0a35d076"
    assert _config(tokens={"units": "bpe"}).directory_name == "small-6ae7a07a"


def test_each_unit_is_another_experiment() -> None:
    units = ["char", "bpe", "word", "phone48", "phone39"]
    assert len({_config(tokens={"units": unit}).directory_name for unit in units}) == len(units)


def test_each_form_of_the_text_is_another_experiment() -> None:
    forms = ["identity", "nfc", "nfkc"]
    assert len({_config(tokens={"normalization": f}).directory_name for f in forms}) == len(forms)


def test_units_of_the_language_model_name_the_experiment() -> None:
    def named(**lm: Any) -> str:
        return _config(lm={"espnet": {"lm": "seq_rnn"}, **lm}).directory_name

    assert named() == "small-6e948fd1"
    assert named(units="tokens", vocabulary_size=9) == named()
    names = {named(), named(units="word"), named(units="word", vocabulary_size=9)}
    assert len(names) == 3
    assert named(units="word", vocabulary_size=65000) == named(units="word")


def test_a_vocabulary_has_a_word() -> None:
    with pytest.raises(ValidationError, match="vocabulary_size"):
        _config(lm={"espnet": {}, "units": "word", "vocabulary_size": 0})


@pytest.mark.parametrize("units", ["bpe", "word", "phone48"])
def test_words_are_looked_ahead_to_from_characters(units: str) -> None:
    with pytest.raises(ValidationError, match=f"lm.units is word, and tokens.units is {units}: "):
        _config(lm={"espnet": {}, "units": "word"}, tokens={"units": units})


def test_phones_are_words_to_espnet() -> None:
    units = ["char", "bpe", "word", "phone48", "phone39"]
    types = [TokensConfig.model_validate({"units": unit}).espnet_type for unit in units]
    assert types == ["char", "bpe", "word", "word", "word"]
    with pytest.raises(ValidationError, match="units"):
        TokensConfig.model_validate({"units": "phone61"})


def test_the_fold_is_an_option_of_the_corpus() -> None:
    assert _config().fold is None
    assert _config(corpus={"name": "timit", "options": {"fold": 3}}).fold == 3
