"""The folding of TIMIT's phones: complete, consistent, and the same as in the literature."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import squall.text.phones
from squall.corpora.timit import prepare_timit
from squall.text.phones import PHONES, fold_phones, phone_classes

# Lee and Hon 1989: confusions within these sets of the 48 classes are not counted.
NOT_COUNTED = ["sil cl vcl epi", "el l", "en n", "sh zh", "ao aa", "ih ix", "ah ax"]


def _one(label: str, classes: int) -> str | None:
    return next(iter(fold_phones([label], classes=classes)), None)  # type: ignore[arg-type]


def test_the_labels_are_those_of_timits_own_list() -> None:
    stops = "b d g p t k dx q bcl dcl gcl pcl tcl kcl"
    others = "jh ch s sh z zh f th v dh m n ng em en eng nx l r w y hh hv el"
    vowels = "iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h"
    silences = "pau epi h#"
    assert sorted(PHONES) == sorted(f"{stops} {others} {vowels} {silences}".split())
    assert len(PHONES) == 61


@pytest.mark.parametrize("classes", [48, 39])
def test_every_label_but_the_glottal_stop_has_a_class(classes: int) -> None:
    folded = {label: _one(label, classes) for label in PHONES}
    assert [label for label, found in folded.items() if found is None] == ["q"]
    names = phone_classes(classes)  # type: ignore[arg-type]
    assert set(folded.values()) - {None} == set(names)
    assert len(names) == classes
    assert list(names) == sorted(names)


def test_folding_twice_is_folding_at_once() -> None:
    for label in PHONES:
        assert fold_phones(fold_phones([label], classes=48), classes=39) == fold_phones(
            [label], classes=39
        )


@pytest.mark.parametrize("classes", [48, 39])
def test_a_class_folds_to_itself(classes: int) -> None:
    names = phone_classes(classes)  # type: ignore[arg-type]
    assert fold_phones(names, classes=classes) == list(names)  # type: ignore[arg-type]


def test_the_classes_that_fall_together_are_those_of_the_paper() -> None:
    together: dict[str, set[str]] = {}
    for name in phone_classes(48):
        together.setdefault(str(_one(name, 39)), set()).add(name)
    merged = [names for names in together.values() if len(names) > 1]
    assert sorted(map(sorted, merged)) == sorted(sorted(group.split()) for group in NOT_COUNTED)


def test_the_labels_that_fall_together_in_the_first_step() -> None:
    together: dict[str, list[str]] = {}
    for label in PHONES:
        together.setdefault(str(_one(label, 48)), []).append(label)
    assert {name: labels for name, labels in together.items() if len(labels) > 1} == {
        "ax": ["ax", "ax-h"],
        "cl": ["kcl", "pcl", "tcl"],
        "er": ["axr", "er"],
        "hh": ["hh", "hv"],
        "m": ["em", "m"],
        "n": ["n", "nx"],
        "ng": ["eng", "ng"],
        "sil": ["h#", "pau"],
        "uw": ["uw", "ux"],
        "vcl": ["bcl", "dcl", "gcl"],
    }


def test_neighbours_of_a_glottal_stop_and_equal_neighbours_stay() -> None:
    assert fold_phones(["h#", "q", "epi", "q", "pau"], classes=39) == ["sil", "sil", "sil"]
    assert fold_phones(["ix", "q", "ih"], classes=39) == ["ih", "ih"]


def test_nothing_may_be_left() -> None:
    assert fold_phones([], classes=39) == fold_phones(["q", "q"], classes=48) == []


def test_what_is_not_a_phone_is_named() -> None:
    for label in ("AA", "ax_h", "", "spn"):
        with pytest.raises(ValueError, match=f"'{label}' is not a phone of TIMIT; the labels are "):
            fold_phones(["aa", label], classes=39)
    with pytest.raises(ValueError, match="classes is 60: phones are folded to 48 or to 39"):
        fold_phones(["aa"], classes=60)  # type: ignore[arg-type]


def test_the_examples() -> None:
    assert doctest.testmod(squall.text.phones).attempted == 2
    assert doctest.testmod(squall.text.phones).failed == 0


@pytest.mark.corpus
def test_every_phone_of_the_real_sample_folds(real_data: Path) -> None:
    splits = prepare_timit(real_data / "timit-nltk", sa=True)
    labels = [phone.label for us in splits.values() for u in us for phone in u.phones]
    assert set(labels) == set(PHONES)
    glottal_stops = labels.count("q")
    assert glottal_stops > 0
    assert len(fold_phones(labels, classes=39)) == len(labels) - glottal_stops
