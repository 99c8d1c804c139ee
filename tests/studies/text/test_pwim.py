"""PWIM: its cube, focus and image word by word, its size, padding, gradients."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from naive_pairs import matched_pairs, pwim_logits, similarities
from squall.studies.text.pwim import Pwim, focus_weights, match_greedily, similarity_cube

# Up to the image's edge and beyond; 31 and 47 are the last with a row of padding.
LENGTHS = {
    32: ((4, 7), (1, 1), (31, 2), (3, 32), (40, 33)),
    48: ((5, 2), (47, 20), (48, 3), (2, 50)),
}
SIZES: tuple[Literal[32, 48], ...] = (32, 48)


def make_model(size: Literal[32, 48] = 32, **options: float) -> Pwim:
    vectors = torch.randn(30, 5, dtype=torch.float64)
    model = Pwim(vectors, 3, hidden=4, size=size, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for layer in model.convolutions:
            layer.bias.normal_(std=0.1)  # so that padding is not 0 behind the first layer
    return model.eval()


def make_pairs(size: int) -> tuple[list[Tensor], list[Tensor]]:
    a, b = ([torch.randint(1, 30, (pair[side],)) for pair in LENGTHS[size]] for side in (0, 1))
    return a, b


def batch(texts: list[Tensor]) -> Tensor:
    return pad_sequence(texts, batch_first=True)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_logits_and_gradients_are_those_of_the_whole_image_word_by_word(
    size: Literal[32, 48],
) -> None:
    model = make_model(size)
    a, b = make_pairs(size)
    pairs = list(zip(a, b, strict=True))
    expected = torch.stack([pwim_logits(model, x.tolist(), y.tolist()) for x, y in pairs])
    assert expected.std(0).min() > 1e-3
    parameters = [p for p in model.parameters() if p.requires_grad]
    weights = torch.randn(expected.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((expected * weights).sum(), parameters)
    together = model(batch(a), batch(b))
    # Alone, most have only a corner of the image.
    alone = torch.cat([model(x.unsqueeze(0), y.unsqueeze(0)) for x, y in pairs])
    for logits in (together, alone):
        torch.testing.assert_close(logits, expected)
        found = torch.autograd.grad((logits * weights).sum(), parameters)
        for one, other in zip(found, gradients, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_padding_changes_nothing(dtype: torch.dtype, tolerance: float) -> None:
    model = make_model().to(dtype)
    a, b = make_pairs(32)
    together = model(batch(a), batch(b))
    for place, (x, y) in enumerate(zip(a, b, strict=True)):
        alone = model(x.unsqueeze(0), y.unsqueeze(0))[0]
        torch.testing.assert_close(alone, together[place], rtol=tolerance, atol=tolerance)
    order = torch.tensor([2, 0, 4, 3, 1])
    shuffled = model(batch(a)[order], batch(b)[order])
    torch.testing.assert_close(shuffled, together[order], rtol=tolerance, atol=tolerance)


def test_words_behind_the_image_are_read_by_the_lstm_only() -> None:
    model = make_model()
    a, b = torch.randint(1, 30, (1, 40)), torch.randint(1, 30, (1, 6))
    whole = model(a, b)
    assert not torch.allclose(model(a[:, :32], b), whole)
    with torch.no_grad():
        for parameter in model.encoder.leftward.parameters():
            parameter.zero_()  # nothing comes back from behind
    torch.testing.assert_close(model(a[:, :32], b), model(a, b))


def test_every_parameter_is_trained_and_the_word_vectors_if_asked() -> None:
    model = make_model(train_embeddings=True, dropout=0.1).train()
    a, b = (batch(texts) for texts in make_pairs(32))
    model(a, b).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
        assert parameter.grad.isfinite().all(), name
    gradient = model.embedding.weight.grad
    assert gradient is not None
    assert not gradient[0].any()
    assert not make_model().embedding.weight.requires_grad


@pytest.mark.parametrize(("vector", "hidden", "classes"), [(300, 250, 2), (50, 100, 5)])
@pytest.mark.parametrize("size", SIZES)
def test_number_of_parameters(
    vector: int, hidden: int, classes: int, size: Literal[32, 48]
) -> None:
    model = Pwim(torch.zeros(2, vector), classes, hidden=hidden, size=size)
    count = sum(parameter.numel() for parameter in model.parameters()) - 2 * vector
    direction = 4 * (vector * hidden + hidden * hidden + 2 * hidden)
    filters = ((13, 128), (128, 164), (164, 192), (192, 192), (192, 128))
    image = sum(9 * inputs * outputs + outputs for inputs, outputs in filters)
    assert image == 1_041_060
    layers = 128 * 128 + 128 + 128 * classes + classes
    assert count == 2 * direction + image + layers
    if classes == 2:
        assert (count, image + layers) == (2_161_830, 1_057_830)
        assert count - direction == 1_609_830  # with the same weights in both directions


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 40; it must be 32 or 48"):
        Pwim(torch.zeros(2, 3), 2, size=40)  # type: ignore[arg-type]


def test_dropout_is_in_training_only() -> None:
    a, b = (batch(texts) for texts in make_pairs(32))
    model = make_model(dropout=0.5).train()
    assert not torch.equal(model(a, b), model(a, b))
    model.eval()
    assert torch.equal(model(a, b), model(a, b))
    model = make_model().train()  # none by default
    assert torch.equal(model(a, b), model(a, b))


def test_filters_start_as_in_the_authors_program() -> None:
    model = Pwim(torch.zeros(2, 3), 2, hidden=2)
    for layer in model.convolutions:
        expected = (2 / (9 * layer.out_channels)) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)
        assert not layer.bias.any()


def test_cube_holds_the_measures_of_each_pair_of_words() -> None:
    a, b = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 4, 8, dtype=torch.float64)
    cube = similarity_cube(a, b)
    assert cube.shape == (2, 13, 3, 4)
    for pair in range(2):
        for row in range(3):
            for column in range(4):
                expected = torch.stack(similarities(a[pair, row], b[pair, column]))
                torch.testing.assert_close(cube[pair, :, row, column], expected)


def test_cube_of_equal_and_of_zero_vectors_is_finite_and_so_are_its_gradients() -> None:
    a = torch.rand(1, 5, 500).sub(0.5).requires_grad_()
    cube = similarity_cube(a, a)
    cube.sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()
    diagonal = cube[0].diagonal(dim1=1, dim2=2)  # (13, 5)
    torch.testing.assert_close(diagonal[0:12:3], torch.ones(4, 5))
    assert -5e-3 < diagonal[1:12:3].min() <= diagonal[1:12:3].max() <= -1e-3
    zeros = torch.zeros(1, 2, 6, requires_grad=True)
    similarity_cube(zeros, zeros).sum().backward()
    assert zeros.grad is not None
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 6), (6, 1), (5, 5), (4, 9), (12, 7)])
def test_matching_is_that_of_a_sorted_list(rows: int, columns: int, ties: bool) -> None:
    values = torch.randn(20, 2, rows, columns)
    if ties:
        values = values.round()
    lengths = torch.randint(1, rows + 1, (20,)), torch.randint(1, columns + 1, (20,))
    real = (torch.arange(rows) < lengths[0].unsqueeze(1)).unsqueeze(2) & (
        torch.arange(columns) < lengths[1].unsqueeze(1)
    ).unsqueeze(1)
    before = values.clone()
    matched = match_greedily(values, real.unsqueeze(1))
    assert torch.equal(values, before)
    for pair in range(20):
        height, width = int(lengths[0][pair]), int(lengths[1][pair])
        for kind in range(2):
            expected = matched_pairs(values[pair, kind, :height, :width].tolist())
            found = {(row, column) for row, column in matched[pair, kind].nonzero().tolist()}
            assert found == expected
            assert len(found) == min(height, width)


def test_matching_of_a_chain_takes_one_round_for_each_word() -> None:
    values = torch.full((1, 6, 6), -1.0)
    for place in range(6):  # each pair is better than the one that shares a word with it
        values[0, place, place] = 2 * place
        values[0, place, (place + 1) % 6] = 2 * place + 1
    matched = match_greedily(values, torch.ones(1, 6, 6, dtype=torch.bool))
    expected = matched_pairs(values[0].tolist())
    assert {(row, column) for row, column in matched[0].nonzero().tolist()} == expected


def test_matching_ends_where_nothing_can_be_compared() -> None:
    real = torch.ones(1, 2, 3, dtype=torch.bool)
    assert not match_greedily(torch.full((1, 2, 3), torch.nan), real).any()
    assert not match_greedily(torch.ones(1, 2, 3), ~real).any()


def test_focus_is_on_what_either_measure_matches() -> None:
    first = [[9.0, 8.0, 1.0], [7.0, 2.0, 3.0]]  # matches (0, 0) and (1, 2)
    second = [[1.0, 9.0, 1.0], [2.0, 8.0, 3.0]]  # (0, 1) and (1, 2)
    real = torch.ones(1, 2, 3, dtype=torch.bool)
    weights = focus_weights(torch.tensor([[first, second]]), real)
    torch.testing.assert_close(weights, torch.tensor([[[1.0, 1.0, 0.1], [0.1, 0.1, 1.0]]]))


def test_learns_which_texts_are_equal() -> None:
    torch.manual_seed(1)
    model = Pwim(torch.randn(20, 8), 2, hidden=8, size=32)
    a = torch.randint(1, 20, (16, 5))
    targets = torch.arange(16) % 2
    b = torch.where(targets.bool().unsqueeze(1), a, a.roll(1, 0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(a, b), targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
