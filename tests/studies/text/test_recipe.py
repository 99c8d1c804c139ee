"""The table of answers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from squall.classification.scores import score_classifier
from squall.losses import build_loss
from squall.studies.text.corpus import LabelledText
from squall.studies.text.recipe import write_answers


def test_answers_stand_beside_their_texts(tmp_path: Path) -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]], dtype=np.float32)
    targets = np.array([0, 1, 0])
    found = score_classifier(
        build_loss("ce", class_dim=-1), dev=(logits, targets), test=(logits, targets)
    )
    texts = [LabelledText("ab"[target], '"quoted', "b") for target in targets]
    write_answers(tmp_path / "test.tsv", found, texts, ["a", "b"])
    with (tmp_path / "test.tsv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows[0] == ["label", "answer", "confidence", "text_a", "text_b"]
    assert [row[1] for row in rows[1:]] == ["ab"[k] for k in logits.argmax(1)]
    assert rows[1][3] == '"quoted'
