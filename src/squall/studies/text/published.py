"""What the sources publish of these corpora."""

from __future__ import annotations

from squall.report.published import Published

__all__ = ["PUBLISHED"]

_ENCODERS = ("bert", "bert_base", "bert_base_mrpc", "sample")
_LOSSES = ("squentropy", "ce", "square")


def _entry(
    title: str,
    dataset: str,
    experiments: tuple[str, ...],
    *values: tuple[float, float],
    f1: tuple[float, float] | None = None,
    small_alpha: float | None = None,
) -> Published:
    """Accuracy and ECE of squentropy, cross-entropy and square loss, F1 of the last two, and the
    accuracy of squentropy with alpha 0.1."""
    found = {
        loss: {"accuracy": accuracy, "ece": ece}
        for loss, (accuracy, ece) in zip(_LOSSES, values, strict=True)
    }
    if f1 is not None:
        found["ce"]["f1"], found["square"]["f1"] = f1
    if small_alpha is not None:
        found["squentropy-a0.1"] = {"accuracy": small_alpha}
    return Published(title, (dataset,), found, experiments)


PUBLISHED = (
    _entry("BERT, MRPC", "mrpc", _ENCODERS,
           (84.0, 7.9), (82.1, 13.1), (83.8, 14.0), f1=(86.7, 88.1)),
    _entry("BERT, SST-2", "sst2", _ENCODERS, (94.2, 7.0), (93.9, 6.7), (94.0, 19.8)),
    _entry("BERT, QNLI", "qnli", _ENCODERS, (91.0, 7.3), (90.6, 7.4), (90.6, 4.2)),
    _entry("BERT, QQP", "qqp", _ENCODERS,
           (89.0, 2.2), (88.9, 5.8), (88.9, 2.8), f1=(70.7, 70.9)),
    _entry("BERT, text5", "text-c5", _ENCODERS,
           (85.2, 12.4), (84.5, 14.9), (84.6, 46.7), small_alpha=85.3),
    _entry("BERT, text20", "text-c20", _ENCODERS,
           (81.2, 10.5), (80.8, 16.2), (80.8, 69.2), small_alpha=81.5),
    _entry("ESIM, MRPC", "mrpc", ("esim",),
           (71.4, 3.2), (70.9, 7.1), (71.7, 3.5), f1=(80.6, 80.9)),
    _entry("ESIM, QNLI", "qnli", ("esim",), (79.3, 7.2), (79.0, 7.6), (79.3, 13.0)),
    _entry("ESIM, QQP", "qqp", ("esim",),
           (83.5, 2.4), (83.1, 3.2), (83.4, 16.5), f1=(62.3, 62.6)),
    _entry("PWIM, MRPC", "mrpc", ("pwim",),
           (70.5, 5.2), (69.4, 6.3), (73.2, 16.3), f1=(78.2, 81.0)),
    _entry("PWIM, QNLI", "qnli", ("pwim",), (76.0, 4.1), (76.0, 2.3), (76.0, 20.5)),
    _entry("PWIM, QQP", "qqp", ("pwim",),
           (84.5, 5.1), (84.4, 7.2), (84.3, 24.6), f1=(60.5, 60.3)),
)  # fmt: skip
"""In percent: Hui, Belkin and Wright 2023; F1 from Hui and Belkin 2021. Both are in Hui's thesis
(2023), where text5 and text20 are swapped in table 2.2."""
