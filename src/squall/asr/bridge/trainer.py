"""ESPnet's trainer, made safe to kill: whole checkpoints, exact resume, progress."""

from __future__ import annotations

import contextlib
import datetime
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from squall.asr.bridge.espnet import Reporter, Trainer, aggregate
from squall.files import atomic_path
from squall.networks.tensors import check_tensors
from squall.workers import OnProgress

__all__ = ["SquallTrainer", "load_weights", "read_history"]

CHECKPOINT = "checkpoint.pth"

# What ESPnet's reporter keeps besides Python's numbers: durations and NumPy scalars.
_REPORTER_TYPES: list[Any] = [
    datetime.timedelta,
    np.dtype,
    np.float64(0).__reduce__()[0],
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int64")),
]


class SquallTrainer(Trainer):  # type: ignore[misc]
    """`Trainer` whose runs end with the same weights however often they are killed.

    ESPnet seeds each epoch from (seed, epoch), so a run resumed at an epoch's end repeats what the
    uninterrupted run would have done. What is added here: checkpoints are written beside their
    target and renamed; they are read without unpickling code; a kill between the two files of an
    epoch loses neither; early stopping is found again; an epoch without one usable step is an
    error; progress is told to `on_progress`.

    Where several processes train together (`squall.asr.bridge.distributed`), all read the
    checkpoint and the first alone writes.
    """

    on_progress: OnProgress = staticmethod(lambda done, total, message: None)

    @staticmethod
    def resume(
        checkpoint: str | Path, model: torch.nn.Module, reporter: Any, **further: Any
    ) -> None:
        """As `Trainer.resume`, and writes the epoch's own file if the kill came before it."""
        Trainer.resume(checkpoint=checkpoint, model=model, reporter=reporter, **further)
        epoch_file = Path(checkpoint).with_name(f"{reporter.get_epoch()}epoch.pth")
        if not epoch_file.exists() and _is_first_process():
            torch.save(model.state_dict(), epoch_file)  # whole: ESPnet's loop runs in `run`

    @classmethod
    def run(cls, model: Any, optimizers: Any, schedulers: Any, *args: Any, **kwargs: Any) -> None:
        """As `Trainer.run`; goes no further where early stopping had ended the run.

        Raises:
            ValueError: the run to continue has more epochs already than are asked for.
        """
        options = kwargs["trainer_options"]
        checkpoint = Path(options.output_dir) / CHECKPOINT
        if options.resume and checkpoint.exists():
            reporter = _read_reporter(checkpoint)
            done = reporter.get_epoch()
            if done > options.max_epoch:
                raise ValueError(
                    f"{checkpoint.parent} has been trained for {done} epochs, and espnet.max_epoch "
                    f"is {options.max_epoch}: give {done} or more, or remove that folder"
                )
            if options.patience is not None and reporter.check_early_stopping(
                options.patience, *options.early_stopping_criterion
            ):
                options.max_epoch = done
        with _whole_and_harmless_files():
            super().run(model, optimizers, schedulers, *args, **kwargs)

    @classmethod
    def train_one_epoch(cls, *args: Any, **kwargs: Any) -> bool:
        """As `Trainer.train_one_epoch`.

        Raises:
            RuntimeError: not one step of the epoch had a finite gradient.
        """
        reporter, options = kwargs["reporter"], kwargs["options"]
        cls.on_progress(reporter.epoch - 1, options.max_epoch, f"epoch {reporter.epoch}")
        invalid = bool(super().train_one_epoch(*args, **kwargs))
        if invalid:
            raise RuntimeError(
                f"no step of epoch {reporter.epoch} had a finite gradient. The last checkpoint is "
                "kept. Lower espnet.optim_conf.lr or lengthen the warm-up"
            )
        return invalid

    @classmethod
    def validate_one_epoch(cls, *args: Any, **kwargs: Any) -> None:
        """As `Trainer.validate_one_epoch`, and tells the epoch's development scores.

        Among those is `output_norm`, the Frobenius norm of the decoder's output layer.
        """
        super().validate_one_epoch(*args, **kwargs)
        reporter, options = kwargs["reporter"], kwargs["options"]
        norm = _output_norm(kwargs["model"])
        if norm is not None:
            reporter.register({"output_norm": norm})
        scores = " ".join(
            f"{key} {aggregate(reporter.stats[key]):.3f}"
            for key in ("loss", "acc", "cer_ctc")
            if reporter.stats.get(key)
        )
        cls.on_progress(reporter.epoch, options.max_epoch, f"epoch {reporter.epoch}: dev {scores}")


def _output_norm(model: torch.nn.Module) -> float | None:
    """Norm of the last layer's weights, without its bias; None for a model without a decoder."""
    decoder = getattr(getattr(model, "module", model), "decoder", None)
    layer = getattr(decoder, "output_layer", None) or getattr(decoder, "output", None)
    return float(layer.weight.detach().norm()) if isinstance(layer, torch.nn.Linear) else None


def _is_first_process() -> bool:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Load weights into a model; every key must fit.

    Raises:
        ValueError: the file is not a set of weights, or is of another model.
    """
    weights = _read(path, "cpu")
    try:
        model.load_state_dict(weights, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold this model's weights: {error}") from error


def read_history(output_dir: Path) -> list[dict[str, Any]]:
    """The scores of each epoch: `{"epoch": 1, "train": {...}, "valid": {...}}`, in order."""
    stats = _read_reporter(output_dir / CHECKPOINT).stats
    return [
        {
            "epoch": epoch,
            **{
                phase: {key: _number(value) for key, value in values.items()}
                for phase, values in phases.items()
            },
        }
        for epoch, phases in sorted(stats.items())
    ]


def _read_reporter(checkpoint: Path) -> Any:
    """ESPnet's reporter as a checkpoint has it; 202611 writes durations in another form."""
    reporter = Reporter()
    reporter.load_state_dict(_read(checkpoint, "cpu")["reporter"])
    return reporter


def _number(value: Any) -> float:
    return value.total_seconds() if isinstance(value, datetime.timedelta) else float(value)


_torch_load = torch.load  # under a name of its own: ESPnet's loop runs with `_read` in its place


def _read(path: Path, device: str) -> Any:
    """What `torch.save` wrote; nothing in the file is run."""
    try:
        check_tensors(Path(path))
        with torch.serialization.safe_globals(_REPORTER_TYPES):
            return _torch_load(path, map_location=device, weights_only=True)
    except (
        pickle.UnpicklingError,
        struct.error,
        RuntimeError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{path} is damaged, or was not written by squall: it is not a file of tensors and "
            "numbers alone, and anything else is refused"
        ) from error


@contextlib.contextmanager
def _whole_and_harmless_files() -> Iterator[None]:
    """While ESPnet's loop runs, let `torch.save` rename and `torch.load` refuse to run code."""
    plain_save, plain_load = torch.save, torch.load

    def whole_save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(f, str | Path):
            plain_save(obj, f, *args, **kwargs)
            return
        with atomic_path(Path(f)) as path:
            plain_save(obj, path, *args, **kwargs)

    def harmless_load(f: Any, map_location: Any = None, **kwargs: Any) -> Any:
        return _read(f, map_location)

    torch.save = whole_save  # type: ignore[assignment]
    torch.load = harmless_load  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.save, torch.load = plain_save, plain_load
