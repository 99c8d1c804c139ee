"""Time of fine-tuning a text classifier with squall, beside Hugging Face's `Trainer`.

Both train the same network on the same texts for one epoch, from the same weights, with AdamW and
the same batch size; `Trainer` pads each batch to its longest text, with batches at random (its
default) and of about one length (`group_by_length`). In every round each runs once, in an order
drawn anew; a ratio is taken within its round, and the table has the median and the quartiles.

    python benchmarks/text.py --corpus-dir ../shared/data/text/mrpc
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from squall.losses import build_loss
from squall.networks.loop import train
from squall.studies.text.corpus import read_text_corpus
from squall.studies.text.dataset import EncodedTexts
from squall.studies.text.encoder import EncoderFamily
from squall.studies.text.settings import EncoderSettings, FineTuningSettings
from squall.studies.text.training import FineTuning


def with_squall(
    family: EncoderFamily, texts: EncodedTexts, classes: int, *, precision: str
) -> float:
    """Seconds of an epoch."""
    torch.manual_seed(1)
    settings = FineTuningSettings.model_validate(
        {"epochs": 1, "keep": "last", "precision": precision}
    )
    training = FineTuning(
        family.network(classes=classes), family, texts, texts, build_loss("ce", class_dim=-1),
        settings, learning_rate=1e-4, seed=1,
    )  # fmt: skip
    began_s = time.perf_counter()
    train(training, epochs=1)
    return time.perf_counter() - began_s


def with_trainer(
    family: EncoderFamily,
    texts: EncodedTexts,
    classes: int,
    *,
    precision: str,
    strategy: str,
) -> float:
    """Seconds of an epoch of `Trainer`."""
    rows = [
        {name: ragged.row(number).tolist() for name, ragged in texts.inputs.items()}
        | {"labels": int(texts.targets[number])}
        for number in range(len(texts))
    ]
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, per_device_train_batch_size=32, num_train_epochs=1, learning_rate=1e-4,
            weight_decay=0.01, warmup_steps=0.1, lr_scheduler_type="linear", use_cpu=True,
            bf16=precision == "bfloat16", train_sampling_strategy=strategy, save_strategy="no",
            logging_strategy="no", report_to=[], disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        network: Any = family.network(classes=classes)
        trainer = transformers.Trainer(
            network.model, arguments, train_dataset=rows,
            data_collator=transformers.DataCollatorWithPadding(family.tokenizer),
        )  # fmt: skip
        began_s = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began_s


def measure(
    runs: dict[str, Callable[[], float]], base: str, rounds: int
) -> list[tuple[str, float, list[float]]]:
    """Name, median seconds, and the ratios to the base of each."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(runs[name]())
    return [
        (
            name,
            statistics.median(of_run),
            [a / b for a, b in zip(of_run, times[base], strict=True)],
        )
        for name, of_run in times.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus-dir", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pretrained", default="packaged")
    parser.add_argument("--max-length", type=int, default=128)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    corpus = read_text_corpus(options.corpus_dir, train_examples=options.examples)
    settings = EncoderSettings(pretrained=options.pretrained, layers=options.layers)
    family = EncoderFamily.pretrained(settings, options.max_length, download=False)
    inputs, _ = family.encode([(text.a, text.b) for text in corpus.splits["train"]])
    texts = EncodedTexts(inputs, np.array(corpus.targets("train")))
    given = (family, texts, len(corpus.labels))
    print(f"{len(texts)} texts of {texts.lengths.mean():.0f} tokens on average, "
          f"{options.threads} thread(s), {options.rounds} rounds\n")  # fmt: skip
    print("| precision | | seconds | ratio to Trainer, median (quartiles) |\n|---|---|---|---|")
    for precision in ("float32", "bfloat16"):
        runs: dict[str, Callable[[], float]] = {
            "Trainer": partial(with_trainer, *given, precision=precision, strategy="random"),
            "Trainer, group_by_length": partial(
                with_trainer, *given, precision=precision, strategy="group_by_length"
            ),
            "squall": partial(with_squall, *given, precision=precision),
        }
        for name, seconds, ratios in measure(runs, "Trainer", options.rounds):
            low, _, high = np.percentile(ratios, [25, 50, 75])
            ratio = f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"
            print(f"| {precision} | {name} | {seconds:.1f} | {ratio} |")


if __name__ == "__main__":
    main()
