"""ESIM: its equations word by word, its size, padding, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from naive_pairs import esim_logits
from squall.studies.text.esim import Esim, align

LENGTHS = ((4, 6), (1, 3), (6, 1), (5, 5))


def make_model(**options: float) -> Esim:
    vectors = torch.randn(20, 5, dtype=torch.float64)
    model = Esim(vectors, 3, hidden=4, **options).double().eval()  # type: ignore[arg-type]
    with torch.no_grad():  # larger than they start, so that every part has its say
        for layer in (model.projection, model.hidden_layer, model.output_layer):
            layer.weight.mul_(30)
            layer.bias.normal_()
    return model


def make_pairs() -> tuple[list[Tensor], list[Tensor]]:
    a, b = ([torch.randint(1, 20, (pair[side],)) for pair in LENGTHS] for side in (0, 1))
    return a, b


def batch(texts: list[Tensor], *, more: int = 0) -> Tensor:
    padded = pad_sequence(texts, batch_first=True)
    return torch.nn.functional.pad(padded, (0, more))


def test_logits_are_those_of_the_equations() -> None:
    model = make_model()
    a, b = make_pairs()
    expected = torch.stack(
        [esim_logits(model, x.tolist(), y.tolist()) for x, y in zip(a, b, strict=True)]
    )
    torch.testing.assert_close(model(batch(a), batch(b)), expected)
    assert expected.std(0).min() > 1e-3


def test_gradients_are_those_of_the_equations() -> None:
    model = make_model()
    a, b = make_pairs()
    parameters = list(model.parameters())
    weights = torch.randn(4, 3, dtype=torch.float64)
    found = torch.autograd.grad((model(batch(a), batch(b)) * weights).sum(), parameters)
    logits = [esim_logits(model, x.tolist(), y.tolist()) for x, y in zip(a, b, strict=True)]
    expected = torch.autograd.grad((torch.stack(logits) * weights).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_padding_changes_nothing(dtype: torch.dtype) -> None:
    model = make_model().to(dtype)
    a, b = make_pairs()
    together = model(batch(a, more=3), batch(b, more=2))
    for place, (x, y) in enumerate(zip(a, b, strict=True)):
        torch.testing.assert_close(model(x.unsqueeze(0), y.unsqueeze(0))[0], together[place])
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model(batch(a)[order], batch(b)[order]), together[order])


def test_every_parameter_is_trained_but_for_the_vectors_of_absent_words_and_padding() -> None:
    model = make_model(dropout=0.5).train()
    a, b = batch(make_pairs()[0]), batch(make_pairs()[1])
    model(a, b).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    gradient = model.embedding.weight.grad
    assert gradient is not None
    assert not gradient[0].any()
    present = torch.cat([a.flatten(), b.flatten()]).unique()
    assert set(gradient.any(1).nonzero().flatten().tolist()) <= set(present.tolist()) - {0}
    fixed = Esim(torch.randn(20, 5), 3, hidden=4, train_embeddings=False)
    assert not fixed.embedding.weight.requires_grad


@pytest.mark.parametrize(("vector", "hidden", "classes"), [(300, 300, 3), (50, 100, 2)])
def test_number_of_parameters(vector: int, hidden: int, classes: int) -> None:
    model = Esim(torch.zeros(2, vector), classes, hidden=hidden)
    count = sum(parameter.numel() for parameter in model.parameters()) - 2 * vector

    def lstms(inputs: int) -> int:  # two directions, four gates, two biases each
        return 2 * 4 * (inputs * hidden + hidden * hidden + 2 * hidden)

    layers = 2 * (8 * hidden * hidden + hidden) + hidden * classes + classes
    assert count == lstms(vector) + lstms(hidden) + layers
    if vector == 300:
        assert count == 4_331_103
        assert count - 2 * 2 * 4 * hidden == 4_326_303  # with single biases; the paper: 4.3 M


def test_dropout_is_in_training_only() -> None:
    model = Esim(torch.randn(20, 5), 3, hidden=4, dropout=0.5)
    a, b = batch(make_pairs()[0]), batch(make_pairs()[1])
    assert not torch.equal(model(a, b), model(a, b))
    model.eval()
    assert torch.equal(model(a, b), model(a, b))


def test_weights_start_as_in_the_authors_program() -> None:
    model = Esim(torch.randn(20, 8), 3, hidden=16)
    for lstm in (model.encoder.rightward, model.composition.leftward):
        for gate in lstm.weight_hh_l0.chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(16))
        for gate in lstm.weight_ih_l0.chunk(4):  # (16, D)
            torch.testing.assert_close(gate.T @ gate, torch.eye(gate.shape[1]))
        assert not lstm.bias_ih_l0.any()
        assert not lstm.bias_hh_l0.any()
    for layer in (model.projection, model.hidden_layer):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not layer.bias.any()


def test_alignment_does_not_depend_on_the_order_of_the_other_words() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    masks = torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 5, dtype=torch.bool)
    to_a, to_b = align(a, b, *masks)
    order = torch.randperm(5)
    other_a, other_b = align(a, b[:, order], *masks)
    torch.testing.assert_close(other_a, to_a)
    torch.testing.assert_close(other_b, to_b[:, order])


def test_alignment_by_hand() -> None:
    a = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    b = torch.tensor([[[50.0, 0.0], [0.0, 50.0], [7.0, 7.0]]])
    masks = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[True, True, False]])
    to_a, to_b = align(a, b, *masks)
    torch.testing.assert_close(to_a, b[:, :2])  # each has its own word in b
    torch.testing.assert_close(to_b[:, :2], a)


def test_learns_which_texts_are_equal() -> None:
    torch.manual_seed(1)
    model = Esim(torch.randn(20, 8), 2, hidden=8, dropout=0.0)
    a = torch.randint(1, 20, (16, 5))
    targets = torch.arange(16) % 2
    b = torch.where(targets.bool().unsqueeze(1), a, a.roll(1, 0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(a, b), targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
