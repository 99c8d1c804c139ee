"""What is measured: each metric's unit, direction and name for people, declared once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "Metric", "declared"]


@dataclass(frozen=True)
class Metric:
    """A quantity that records hold.

    Args:
        name: in records.
        title: for people.
        unit: of its values; empty for a number without one.
        better: which values are better; empty where neither is.
        digits: decimals in a table.
        digits_of_difference: decimals of a difference between systems, if they are others.
        former_units: what records of earlier versions call the same unit.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower", ""] = ""
    digits: int = 2
    digits_of_difference: int | None = None
    former_units: tuple[str, ...] = ()

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower value is better."""
        return self.better == "lower"

    @property
    def heading(self) -> str:
        """What stands above a column of values: the name, and the unit if it needs one."""
        return f"{self.title} {self.unit}" if self.unit in ("%", "nats", "dB") else self.title

    def difference(self, value: float) -> str:
        """A difference as text, without the unit."""
        digits = self.digits if self.digits_of_difference is None else self.digits_of_difference
        return f"{value:.{digits}f}"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("wer", "WER", "%", "lower"),
        Metric("cer", "CER", "%", "lower"),
        Metric("ter", "TER", "%", "lower"),
        Metric("per", "PER", "%", "lower"),
        Metric("ser", "SER", "%", "lower"),
        Metric("accuracy", "accuracy", "%", "higher"),
        Metric("top5_accuracy", "top-5 accuracy", "%", "higher"),
        Metric("f1", "F1", "%", "higher"),
        Metric("ece", "ECE", "%", "lower"),
        Metric("ece_adaptive", "adaptive ECE", "%", "lower"),
        Metric("mce", "MCE", "%", "lower"),
        Metric("brier", "Brier", "score", "lower"),
        Metric("nll", "NLL", "nats", "lower"),
        Metric("bpc", "bits per character", "bits", "lower", 3),
        Metric("nll_refinement", "NLL refinement", "nats", "lower", 3, 4),
        Metric("nll_calibration", "NLL calibration error", "nats", "lower", 3, 4),
        Metric("brier_refinement", "Brier refinement", "score", "lower", 3, 4),
        Metric("brier_calibration", "Brier calibration error", "score", "lower", 3, 4),
        Metric("nll_refinement_isotonic", "NLL isotonic refinement", "nats", "lower", 3, 4),
        Metric("nll_calibration_isotonic", "NLL isotonic calibration error", "nats", "lower", 3, 4),
        Metric("brier_refinement_isotonic", "Brier isotonic refinement", "score", "lower", 3, 4),
        Metric(
            "brier_calibration_isotonic", "Brier isotonic calibration error", "score", "lower", 3, 4
        ),
        Metric("smooth_ece", "smooth ECE", "%", "lower"),
        Metric("aurc", "AURC", "%", "lower"),
        Metric("e_aurc", "excess AURC", "%", "lower"),
        Metric("nce", "NCE", "", "higher", 3),
        Metric("temperature", "temperature", "ratio"),
        Metric("stoi", "STOI", "", "higher", 3, 4),
        Metric("pesq_nb", "PESQ nb", "MOS-LQO", "higher", 2, 4, ("",)),
        Metric("pesq_wb", "PESQ wb", "MOS-LQO", "higher", 2, 4, ("",)),
        Metric("si_sdr", "SI-SDR", "dB", "higher", 1, 2),
        Metric("estoi", "ESTOI", "", "higher", 3, 4),
        Metric("sdr", "SDR", "dB", "higher", 1, 2),
        Metric("seg_snr", "segmental SNR", "dB", "higher", 1, 2),
        Metric("lsd", "log-spectral distance", "dB", "lower", 1, 2),
        Metric("csig", "CSIG", "MOS", "higher", 2, 3),
        Metric("cbak", "CBAK", "MOS", "higher", 2, 3),
        Metric("covl", "COVL", "MOS", "higher", 2, 3),
        Metric("dnsmos_ovrl", "DNSMOS OVRL", "MOS", "higher", 2, 3),
        Metric("dnsmos_sig", "DNSMOS SIG", "MOS", "higher", 2, 3),
        Metric("dnsmos_bak", "DNSMOS BAK", "MOS", "higher", 2, 3),
        Metric("dnsmos_p808", "DNSMOS P.808", "MOS", "higher", 2, 3),
        Metric("mse", "MSE", "", "lower", 4),
        Metric("dev_mse", "validation MSE", "", "lower", 5),
        Metric("hit", "HIT", "%", "higher", 1),
        Metric("fa", "FA", "%", "lower", 1),
        Metric("hit_fa", "HIT - FA", "%", "higher", 1),
        Metric("untrained", "untrained networks", "networks", "lower", 0),
        Metric("epochs", "epochs", "epochs", digits=0),
        Metric("learning_rate", "learning rate", "", digits=6),
        Metric("weight_norm", "norm of the last layer", "", digits=2),
        Metric("transfer_accuracy", "accuracy after fine-tuning", "%", "higher"),
        Metric("train_collapse", "train collapse", "", "lower", 4),
        Metric("test_collapse", "strong test collapse", "", "lower", 4),
        Metric("weak_test_collapse", "weak test collapse", "", "lower", 4),
        Metric("nc_variability", "NC1 variability", "", "lower", 4),
        Metric("nc_equinorm", "NC2 equinorm", "", "lower", 4),
        Metric("nc_equiangular", "NC2 equiangular", "", "lower", 4),
        Metric("nc_duality", "NC3 duality", "", "lower", 4),
        Metric("nc_disagreement", "NC4 disagreement", "%", "lower", 2),
        Metric("objective", "objective", "", "lower", 6),
        Metric("overlap", "overlap", "", digits=4),
        Metric("student_noise", "noise of the student", "", digits=4),
        Metric("jump", "jump", "%", digits=1),
        Metric("converged", "converged", "%", "higher", 0),
        Metric("best_rescale", "best R", "", digits=2),
        Metric("ridge", "ridge", "", digits=3),
        Metric("equation", "value", "", digits=4),
        Metric("train_accuracy", "training accuracy", "%", "higher"),
        Metric("train_steps", "steps of training", "steps", "lower", 0),
        Metric("params", "parameters", "weights", digits=0),
        Metric("centres", "centres", "centres", digits=0),
        Metric("train_frames", "training frames", "frames", digits=0),
        Metric("unseen", "noise not trained on", "", digits=0),
        Metric("rtf", "RTF", "ratio", "lower", former_units=("",)),
        Metric("train_seconds", "training", "s", "lower", 0),
        Metric("match_seconds", "seconds to match", "s", "lower", 0),
        Metric("p", "p", "p", digits=3),
    )
}
"""By name. A square error is a plain number, which the tables show times 100. PESQ is MOS-LQO, of
P.862.1 in narrow band and P.862.2 in wide band; `rtf` is seconds of computing per second of audio.
`unseen` is 1 for a test condition whose noise no model was trained on, and 0 for another.
"""

_DERIVED = re.compile(
    r"(?P<metric>\w+?)_"
    r"(?:(?P<p>difference_p|difference_p_holm|mapsswe_p|mcnemar_p)"
    r"|difference(?:_(?:utterances|speakers|seeds)_(?:low|high))?)"
)


def declared(name: str) -> Metric:
    """The metric that a record's name stands for.

    Args:
        name: that of a metric; of a metric and another system (`match_seconds:dnn`); of a
            difference between systems or an end of its interval (`wer_difference_seeds_low`),
            which have the metric's unit; or of a p value (`wer_difference_p`).

    Raises:
        ValueError: no such metric is declared.

    >>> declared("pesq_nb").unit, declared("wer_difference").unit, declared("wer_mapsswe_p").unit
    ('MOS-LQO', '%', 'p')
    """
    plain = name.partition(":")[0]
    derived = _DERIVED.fullmatch(name)
    if derived:
        plain = "p" if derived["p"] and derived["metric"] in METRICS else derived["metric"]
    if plain not in METRICS:
        raise ValueError(f"{name!r} is no metric that squall.scoring.metrics declares")
    return METRICS[plain]
