"""Checks of what the losses are called with, and the arrangement of logits and targets.

Each error names the value that is wrong, where it is, and what would be right.
"""

from __future__ import annotations

import math
import operator
from numbers import Real

import torch
from torch import Tensor

__all__ = [
    "arrange",
    "arrange_hidden",
    "check_at_least",
    "check_finite_head",
    "check_finite_logits",
    "check_fraction",
    "check_ignore_index",
    "check_positive",
    "check_reduction",
    "check_target_range",
    "count_classes",
    "count_rows",
]

_INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_FLOAT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction: str) -> None:
    """Raise ValueError for a reduction other than none, mean and sum."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; it must be one of {', '.join(_REDUCTIONS)}")


def check_positive(name: str, value: float) -> float:
    """The value as a float.

    Raises ValueError unless it is finite and above 0, TypeError if it is no number.
    """
    number = _number(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {value}; it must be a finite number above 0")
    return number


def check_at_least(name: str, value: float, *, minimum: float) -> float:
    """The value as a float; ValueError unless it is finite and at least `minimum`, TypeError."""
    number = _number(name, value)
    if not minimum <= number < math.inf:
        raise ValueError(f"{name} is {value}; it must be a finite number of at least {minimum:g}")
    return number


def check_fraction(name: str, value: float) -> float:
    """The value as a float; ValueError unless it is in [0, 1], TypeError if it is no number."""
    number = _number(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {value}; it must be between 0 and 1")
    return number


def check_ignore_index(value: int) -> None:
    """Raise TypeError unless it is an integer, Python's or numpy's."""
    try:
        operator.index(value)
    except TypeError:
        raise TypeError(
            f"ignore_index is {value!r}, a {type(value).__name__}; it must be an integer"
        ) from None


def _number(name: str, value: object) -> float:
    """Python's float for any real number, so that numpy's narrow ones round nothing."""
    if not isinstance(value, Real):
        raise TypeError(
            f"{name} is {value!r}, a {type(value).__name__}; it must be a number "
            "(YAML reads 1e-3 as text; write 1.0e-3)"
        )
    return float(value)


def count_classes(logits: Tensor, class_dim: int) -> int:
    """The size C of the class dimension.

    Raises ValueError for a class_dim other than 1 and -1, for logits without dimensions and for
    fewer than two classes; TypeError for logits that are not floating-point numbers.
    """
    if class_dim not in (1, -1):
        raise ValueError(
            f"class_dim is {class_dim}; it must be 1 for logits (N, C, ...), as in torch, "
            "or -1 for logits (..., C)"
        )
    if logits.dtype not in _FLOAT_DTYPES:
        raise TypeError(
            f"logits are {logits.dtype}; they must be float16, bfloat16, float32 or float64. "
            "The order of the arguments is (logits, target)"
        )
    if logits.ndim == 0:
        raise ValueError("logits have no dimensions; they need one over the classes")
    classes = logits.shape[-1 if logits.ndim == 1 else class_dim]
    if classes < 2:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have {classes} classes along dimension "
            f"{class_dim} (class_dim); these losses need at least 2. "
            "Give a two-class problem two logits"
        )
    return classes


def arrange(logits: Tensor, target: Tensor, class_dim: int) -> tuple[Tensor, Tensor]:
    """Bring logits into the shape (A, S, C) and the target to int64, without a copy if possible.

    logits are (N, C, ...) with a target (N, ...) for class_dim 1, (..., C) with a target (...)
    for class_dim -1, or (C,) with a target without dimensions for both. The target keeps its
    shape; its elements are in the order of the first two dimensions of the arranged logits.

    Raises TypeError for a target that is not of integers, ValueError for shapes that do not
    belong together and for tensors on different devices.
    """
    if target.dtype not in _INTEGER_DTYPES:
        raise TypeError(
            f"target is {target.dtype}; it must hold class numbers as integers (int64). "
            "Targets of class probabilities are not taken"
        )
    wanted = _target_shape(logits, class_dim)
    if tuple(target.shape) != wanted:
        message = (
            f"logits {tuple(logits.shape)} with class_dim={class_dim} need a target {wanted}, "
            f"not {tuple(target.shape)}"
        )
        if tuple(target.shape) == _target_shape(logits, -class_dim):
            message += f"; with class_dim={-class_dim} these shapes would fit"
        raise ValueError(message)
    if logits.device != target.device:
        raise ValueError(f"logits are on {logits.device}, but the target is on {target.device}")
    target = target.to(torch.int64)
    if logits.ndim <= 2:
        return logits.reshape(1, -1, logits.shape[-1]), target
    if class_dim == 1:
        return logits.flatten(2).transpose(1, 2), target
    return logits.flatten(0, -3), target


def count_rows(weight: Tensor) -> int:
    """The number V of classes of a linear layer's weight (V, D).

    Raises TypeError for a weight that is not of floating-point numbers, ValueError for one that is
    no matrix and for fewer than two classes.
    """
    if weight.dtype not in _FLOAT_DTYPES:
        raise TypeError(
            f"weight is {weight.dtype}; it must be float16, bfloat16, float32 or float64. "
            "The order of the arguments is (hidden, weight, target, bias)"
        )
    if weight.ndim != 2 or weight.shape[0] < 2:
        raise ValueError(
            f"weight has the shape {tuple(weight.shape)}; it must be (V, D), as that of "
            "torch.nn.Linear, with at least 2 classes V"
        )
    return weight.shape[0]


def arrange_hidden(
    hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """hidden (..., D) as (N, D) and the target (...) as (N,) in int64.

    Raises TypeError for a target that is not of integers and for other dtypes that do not belong
    together, ValueError for shapes that do not and for tensors on different devices.
    """
    if target.dtype not in _INTEGER_DTYPES:
        raise TypeError(
            f"target is {target.dtype}; it must hold class numbers as integers (int64). "
            "The order of the arguments is (hidden, weight, target, bias)"
        )
    if hidden.ndim == 0 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} does not fit a weight {tuple(weight.shape)}; they must "
            "be (..., D) and (V, D)"
        )
    if target.shape != hidden.shape[:-1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} needs a target {tuple(hidden.shape[:-1])}, "
            f"not {tuple(target.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"a weight {tuple(weight.shape)} needs a bias {tuple(weight.shape[:1])}, "
            f"not {tuple(bias.shape)}"
        )
    parts = {"hidden": hidden, "weight": weight, "bias": bias}
    under_autocast = not hidden.is_meta and torch.is_autocast_enabled(hidden.device.type)
    for name, part in parts.items():
        if part is not None and part.dtype not in _FLOAT_DTYPES:
            raise TypeError(f"{name} is {part.dtype}; it must be of floating-point numbers")
        if part is not None and part.dtype != hidden.dtype and not under_autocast:
            raise TypeError(f"{name} is {part.dtype}, but hidden is {hidden.dtype}")
    for name, part in {**parts, "target": target}.items():
        if part is not None and part.device != hidden.device:
            raise ValueError(f"{name} is on {part.device}, but hidden is on {hidden.device}")
    return hidden.reshape(target.numel(), hidden.shape[-1]), target.reshape(-1).to(torch.int64)


def _target_shape(logits: Tensor, class_dim: int) -> tuple[int, ...]:
    shape = tuple(logits.shape)
    if class_dim == -1 or len(shape) == 1:
        return shape[:-1]
    return shape[:1] + shape[2:]


def check_target_range(target: Tensor, classes: int, *, ignore_index: int) -> None:
    """Raise IndexError for the first target outside 0 .. C-1 that is not `ignore_index`."""
    if target.numel() == 0:
        return
    kept = target.masked_fill(target == ignore_index, 0)
    lowest, highest = (int(bound) for bound in kept.aminmax())
    if lowest >= 0 and highest < classes:
        return
    first = int(((kept < 0) | (kept >= classes)).flatten().nonzero()[0])
    raise IndexError(
        f"{_position('target', first, target.shape)} is {int(target.flatten()[first])}; with "
        f"{classes} classes it must be between 0 and {classes - 1}, or {ignore_index} "
        "(ignore_index)"
    )


def check_finite_logits(logits: Tensor, ignored: Tensor, shape: torch.Size) -> None:
    """Raise ValueError for the first NaN or infinity in logits (A, S, C).

    ignored (A, S) tokens may hold anything; `shape`, that of the target, serves to name the
    token.
    """
    # A finite sum has finite terms only, and needs no tensor of the size of the logits.
    suspects = ~torch.isfinite(logits.sum(-1, dtype=torch.float64)) & ~ignored
    for row, column in suspects.nonzero().tolist():
        token = logits[row, column]
        bad = (~torch.isfinite(token)).nonzero().flatten().tolist()
        if bad:
            position = _position("target", row * logits.shape[1] + column, shape)
            raise ValueError(
                f"the logit of class {bad[0]} is {float(token[bad[0]])} for the token of "
                f"{position}; the model has diverged, or its output was masked with infinities"
            )


def check_finite_head(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, ignored: Tensor, shape: torch.Size
) -> None:
    """Raise ValueError for the first NaN or infinity in hidden (N, D), weight or bias.

    ignored (N,) tokens may hold anything; `shape`, that of the target, serves to name the token.
    """
    for name, rows in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        if rows is None:
            continue
        # A finite sum has finite terms only, and needs no tensor of the size of the rows.
        sums = rows.sum(-1, dtype=torch.float64) if rows.ndim == 2 else rows
        suspects = ~torch.isfinite(sums)
        if name == "hidden":
            suspects &= ~ignored
        for row in suspects.nonzero().flatten().tolist():
            bad = (~torch.isfinite(rows[row])).flatten().nonzero().flatten().tolist()
            if bad:
                where = f"{name}[{row}]" if rows.ndim == 1 else f"{name}[{row}, {bad[0]}]"
                if name == "hidden":
                    where = f"feature {bad[0]} of {_position('hidden', row, shape)}"
                raise ValueError(
                    f"{where} is {float(rows[row].flatten()[bad[0]])}; the model has diverged"
                )


def _position(name: str, flat_index: int, shape: torch.Size) -> str:
    """`name` with the index of an element, as Python would write it."""
    if not shape:
        return name
    numbers = []
    for size in reversed(shape):
        flat_index, number = divmod(flat_index, size)
        numbers.append(str(number))
    return f"{name}[{', '.join(reversed(numbers))}]"
