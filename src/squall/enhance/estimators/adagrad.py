"""AdaGrad with momentum, the optimizer of the mask-estimating networks of the sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["AdagradMomentum"]


class AdagradMomentum(Optimizer):
    """Steps scaled by AdaGrad, accumulated by momentum.

        s <- s + g^2
        v <- momentum v - lr g / (sqrt(s) + eps)
        w <- w + v

    With momentum 0 this is `torch.optim.Adagrad`. The momentum may be changed between steps, in
    `param_groups`, as the sources do: 0.5 for the first epochs, then 0.9.

    Args:
        params: as in every optimizer of torch.
        lr: above 0.
        momentum: in [0, 1).
        eps: above 0; keeps a weight whose gradient was always 0 where it is.

    Raises:
        ValueError: a parameter is out of its range.

    Convention: Wang, Narayanan, Wang 2014 write "adaptive gradient descent along with a momentum
    term" and give neither the order nor the learning rate; here the gradient is scaled before it is
    accumulated, so that a step of the past keeps the scale it was taken with.

    Source: Duchi, Hazan, Singer 2011 (AdaGrad); Wang, Narayanan, Wang 2014, section III.
    """

    def __init__(
        self, params: Any, lr: float = 0.01, momentum: float = 0.9, eps: float = 1e-10
    ) -> None:
        if lr <= 0.0:
            raise ValueError(f"lr is {lr}; it must be above 0")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum is {momentum}; it must be in [0, 1)")
        if eps <= 0.0:
            raise ValueError(f"eps is {eps}; it must be above 0")
        super().__init__(params, {"lr": lr, "momentum": momentum, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every weight that has a gradient; gives what the closure gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["sum"] = torch.zeros_like(weight)
                    state["velocity"] = torch.zeros_like(weight)
                squares, velocity = state["sum"], state["velocity"]
                squares.addcmul_(weight.grad, weight.grad)
                scale = squares.sqrt().add_(group["eps"])
                velocity.mul_(group["momentum"]).addcdiv_(weight.grad, scale, value=-group["lr"])
                weight.add_(velocity)
        return loss
