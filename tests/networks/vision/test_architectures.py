"""Architectures for images: their published sizes, a step in every loss, what they refuse."""

from __future__ import annotations

import pytest
import torch

from squall.losses import LOSSES, build_loss
from squall.networks.vision.architectures import ARCHITECTURES, build_network
from squall.networks.vision.tcn import TemporalConvolutions

COLOUR, GREY = (3, 32, 32), (1, 28, 28)
OF_TORCHVISION = ("resnet50", "efficientnet_b0", "densenet121")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("resnet18", COLOUR, 10, 11_173_962),  # what others count for the CIFAR form
        ("wide_resnet", COLOUR, 10, 36_479_194),  # 36.5 M in the paper
        ("wide_resnet", COLOUR, 100, 36_536_884),
        ("vgg11", COLOUR, 10, 9_231_114),
        ("resnet50", COLOUR, 1000, 25_557_032),
        ("efficientnet_b0", COLOUR, 1000, 5_288_548),
        ("densenet121", COLOUR, 1000, 7_978_856),
        ("mlp", GREY, 10, 784 * 1024 + 2 * 1024 * 1024 + 3 * 1024 + 10_250),
    ],
)
def test_sizes_are_those_that_are_published(
    name: str, shape: tuple[int, int, int], classes: int, count: int
) -> None:
    if name in OF_TORCHVISION:
        pytest.importorskip("torchvision")
    with torch.device("meta"):
        network = build_network(name, shape=shape, classes=classes)
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_tcn_has_25_filters_of_7_in_8_blocks() -> None:
    network = build_network("tcn", shape=GREY, classes=10)
    convolutions = 7 * (25 + 15 * 25 * 25) + 16 * 25  # weights and biases
    norms, shortcut, last = 16 * 25, 2 * 25, 26 * 10
    count = sum(p.numel() for p in network.parameters())
    assert count == convolutions + norms + shortcut + last


SMALL = {
    "resnet18": {"width": 4},
    "wide_resnet": {"depth": 10, "factor": 1},
    "vgg11": {"width": 4},
    "vit": {"dimensions": 12, "layers": 1},
    "tcn": {"width": 16, "levels": 3},
    "mlp": {"hidden": (8,)},
}


@pytest.mark.parametrize("name", SMALL)
def test_every_loss_trains_every_layer(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, shape=COLOUR, classes=10, **SMALL[name])
    images, targets = torch.randn(4, *COLOUR), torch.arange(4)
    features = network.features(images)
    assert features.shape == (4, network.output_layer.in_features)
    logits = network(images)
    for loss in LOSSES:
        parameters = list(network.parameters())
        found = torch.autograd.grad(
            build_loss(loss, class_dim=-1)(logits, targets), parameters, retain_graph=True
        )
        assert all(gradient.abs().sum() > 0 for gradient in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_torchvisions_networks_have_features(name: str) -> None:
    pytest.importorskip("torchvision")
    network = build_network(name, shape=COLOUR, classes=5).eval()
    with torch.inference_mode():
        features = network.features(torch.randn(1, *COLOUR))
    assert features.shape == (1, network.output_layer.in_features)
    with pytest.raises(ValueError, match="takes images of 3 channels, not of 1"):
        build_network(name, shape=GREY, classes=5)


def test_the_tcn_reads_pixels_in_their_order_and_no_further() -> None:
    torch.manual_seed(0)
    body = TemporalConvolutions(1, width=3, levels=2, kernel=3, dropout=0.0)
    steps = torch.randn(1, 1, 1, 20)
    whole = body.blocks(steps.flatten(2))
    changed = steps.clone()
    changed[..., 12] += 5
    after = body.blocks(changed.flatten(2))
    assert torch.equal(whole[..., :12], after[..., :12])
    assert not torch.equal(whole[..., 12:], after[..., 12:])
    order = torch.randperm(20)
    permuted = TemporalConvolutions(1, width=3, levels=2, kernel=3, dropout=0.0, order=order)
    permuted.load_state_dict(body.state_dict() | {"order": order})
    torch.testing.assert_close(permuted(steps), body(steps[..., order]))


def test_the_permutation_is_that_of_the_seed() -> None:
    orders = [
        build_network("tcn", shape=GREY, classes=2, seed=seed, **SMALL["tcn"]).body.order
        for seed in (1, 1, 2)
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    plain = build_network("tcn", shape=GREY, classes=2, permuted=False, **SMALL["tcn"])
    assert plain.body.order is None


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "message"),
    [
        ("resnet19", COLOUR, {}, "no architecture 'resnet19'; there are mlp, resnet18"),
        ("resnet18", COLOUR, {"depth": 3}, "resnet18: .*unexpected keyword argument 'depth'"),
        ("wide_resnet", COLOUR, {"depth": 27}, "depth is 27; it must be 6 n"),
        ("vgg11", GREY, {}, "vgg11 takes images of 32 x 32, not of 28 x 28"),
        ("vit", COLOUR, {"patch": 5}, "side is 32; it must be a multiple of the patch's 5"),
        ("vit", (3, 32, 28), {}, "vit takes square images"),
    ],
)
def test_what_cannot_be_built(
    name: str, shape: tuple[int, int, int], parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(name, shape=shape, classes=3, **parameters)


def test_all_are_named() -> None:
    assert set(ARCHITECTURES) == {*SMALL, *OF_TORCHVISION}
