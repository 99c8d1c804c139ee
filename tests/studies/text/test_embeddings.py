"""Word vectors: both forms of files, what is missing in them, and what is wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squall.studies.text.embeddings import embedding_layer, random_vectors, read_vectors
from squall.studies.text.words import Vocabulary, build_vocabulary

VOCABULARY = Vocabulary(("the", "cat", "zyx", ","))
VECTORS = {"the": (0.5, -1.0, 2.0), ",": (0.25, 0.0, 1.0), "dog": (9.0, 9.0, 9.0)}


def write_text(path: Path, *, ending: str = "\n") -> Path:
    lines = [" ".join([word, *map(str, values)]) + ending for word, values in VECTORS.items()]
    path.write_bytes("".join([*lines, ". . . 7 7 7\n", "the 3 3 3\n"]).encode())
    return path


def write_arrays(path: Path, **changed: Any) -> Path:
    words, vectors = [*VECTORS, "the"], [*VECTORS.values(), (3.0, 3.0, 3.0)]
    arrays = {"words": np.array("\n".join(words)), "vectors": np.array(vectors, np.float16)}
    np.savez(path, **{name: x for name, x in (arrays | changed).items() if x is not None})
    return path


def test_the_forms_give_the_same_matrix(tmp_path: Path) -> None:
    found = [
        read_vectors(path, VOCABULARY, seed=1)
        for path in (
            write_text(tmp_path / "glove.txt"),
            write_text(tmp_path / "fasttext.vec", ending=" \r\n"),
            write_arrays(tmp_path / "glove.npz"),
            write_arrays(tmp_path / "list.npz", words=np.array([*VECTORS, "the"])),
        )
    ]
    for vectors in found:
        assert vectors.found == 2
        assert vectors.matrix.dtype == torch.float32
        assert torch.equal(vectors.matrix, found[0].matrix)
    matrix = found[0].matrix
    assert matrix.shape == (6, 3)
    assert not matrix[0].any()
    assert matrix[2].tolist() == [0.5, -1.0, 2.0]  # the first of two
    assert matrix[5].tolist() == [0.25, 0.0, 1.0]


def test_missing_words_have_small_vectors_drawn_from_the_seed(tmp_path: Path) -> None:
    path = write_text(tmp_path / "glove.txt")
    vocabulary = Vocabulary((*VOCABULARY.words, *map(str, range(2000))))
    matrix = read_vectors(path, vocabulary, seed=1).matrix
    missing = torch.cat([matrix[1:2], matrix[3:5], matrix[6:]])
    assert missing.std().item() == pytest.approx(0.05, rel=0.05)
    assert missing.any(1).all()
    assert torch.equal(matrix, read_vectors(path, vocabulary, seed=1).matrix)
    assert not torch.equal(matrix, read_vectors(path, vocabulary, seed=2).matrix)


def test_random_vectors_are_as_widely_spread_as_real_ones() -> None:
    vocabulary = Vocabulary(tuple(map(str, range(1000))))
    vectors = random_vectors(vocabulary, 20, seed=3)
    assert vectors.matrix.shape == (1002, 20)
    assert vectors.found == 0
    assert not vectors.matrix[0].any()
    assert vectors.matrix[1:].std().item() == pytest.approx(0.7, rel=0.02)
    assert torch.equal(vectors.matrix, random_vectors(vocabulary, 20, seed=3).matrix)
    assert not torch.equal(vectors.matrix, random_vectors(vocabulary, 20, seed=4).matrix)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 1 2\nthe 1\n", r"glove.txt:2: 1 values behind the word where the first line has 2"),
        ("a 1 2\nthe 1 2 3\n", r"glove.txt:2: 3 values .* first line has 2"),
        ("2 2\nthe 1 2\ncat 1 2\n", r"glove.txt:2: 2 values .* there is no header"),
        ("the\t1\t2\n", r"glove.txt:1: 0 values .* separated by spaces"),
        ("a 1 2\n\nthe 1 2\n", r"glove.txt:2: 0 values"),
        ("a 1 2\nthe 1 x\n", r"glove.txt:2: .*'x'; it must be a number"),
        ("a 1 2\nthe 1 nan\n", r"glove.txt:2: a number is not finite"),
        ("a 1 2\n", r"glove.txt has a vector of none of the 4 words \(the, cat, zyx, ...\)"),
        ("", r"glove.txt has a vector of none"),
    ],
)
def test_a_broken_text_is_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_vectors(path, VOCABULARY, seed=0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"words": None}, "with the arrays `vectors`"),
        ({"words": np.array(["the", 1], dtype=object)}, "with the arrays `vectors`"),
        ({"words": np.array("the\ncat")}, r"\(4, 3\), for 2 words"),
        ({"vectors": np.ones(4)}, r"float64, \(4,\), for 4 words"),
        ({"vectors": np.ones((4, 3), np.int64)}, r"int64, \(4, 3\)"),
        ({"vectors": np.full((4, 3), np.inf)}, r"'the' has numbers that are not finite"),
        ({"words": np.array("a\nb\nc\nd")}, r"has a vector of none of the 4 words"),
    ],
)
def test_broken_arrays_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = write_arrays(tmp_path / "glove.npz", **changed)
    with pytest.raises(ValueError, match=rf"glove\.npz.*{message}"):
        read_vectors(path, VOCABULARY, seed=0)


@pytest.mark.parametrize("content", [b"", b"the 1 2 3\n", b"PK\x03\x04 damaged"])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "glove.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"glove\.npz is no \.npz file with the arrays"):
        read_vectors(path, VOCABULARY, seed=0)
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(ValueError, match=r"glove\.npz is no \.npz file with the arrays"):
        read_vectors(path, VOCABULARY, seed=0)


def test_an_absent_file_is_no_other_error(tmp_path: Path) -> None:
    for name in ("absent.npz", "absent.txt"):
        with pytest.raises(FileNotFoundError, match="absent"):
            read_vectors(tmp_path / name, VOCABULARY, seed=0)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_layer_has_a_copy_of_the_vectors(trainable: bool) -> None:
    matrix = torch.randn(5, 3)
    before = matrix.clone()
    layer = embedding_layer(matrix, trainable=trainable)
    assert layer.weight.requires_grad == trainable
    if trainable:
        layer(torch.tensor([0, 0, 3])).sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.any(1).tolist() == [False, False, False, True, False]
    layer.weight.detach().add_(1.0)
    assert torch.equal(matrix, before)


@pytest.mark.parametrize("shape", [(5,), (1, 3), (2, 2, 2)])
def test_a_matrix_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"have the shape .* it must be \(V, D\)"):
        embedding_layer(torch.ones(shape), trainable=True)


@pytest.mark.corpus
def test_most_words_of_real_texts_have_a_vector(real_data: Path) -> None:
    with gzip.open(real_data / "text" / "mrpc" / "train.tsv.gz", "rt", encoding="utf-8") as file:
        vocabulary = build_vocabulary(line.split("\t", 1)[1] for line in list(file)[1:])
    path = real_data / "text" / "glove50" / "glove.6B.50d.subset.npz"
    vectors = read_vectors(path, vocabulary, seed=0)
    assert vectors.matrix.shape == (len(vocabulary), 50)
    assert vectors.found / len(vocabulary.words) > 0.9
    assert vectors.matrix[vocabulary.ids["the"]][0].item() == pytest.approx(0.418, abs=1e-3)
