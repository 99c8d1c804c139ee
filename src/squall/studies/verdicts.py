"""Whether a printed formula holds, told from numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from squall.studies.simulations import mean_and_error

__all__ = ["Claim", "Verdict", "judge", "summary"]

Verdict = Literal["holds", "holds with a correction", "does not hold", "not tested"]
_ERRORS = 3.0  # standard errors


@dataclass(frozen=True)
class Claim:
    """What is said of a quantity for one setting, and what is found.

    Args:
        printed: the value of the printed formula; NaN where it has none.
        corrected: that of the corrected one; NaN where there is none.
        measured: over seeds.
        bound: whether the formulas are upper bounds of what is measured, or equal to it.
        relative: what differences count as none, relative to what is measured.
        absolute: the same, as they are.
    """

    printed: float
    corrected: float
    measured: Sequence[float]
    bound: bool = False
    relative: float = 0.02
    absolute: float = 0.0

    def excess(self, value: float) -> float:
        """How far what is measured is from a value; of a bound, above it.

        Relative to what is measured, unless `absolute` is set.
        """
        mean, _ = mean_and_error(self.measured)
        off = max(0.0, mean - value) if self.bound else value - mean
        return off if self.absolute or not mean else off / abs(mean)

    def agrees(self, value: float) -> bool:
        """Whether a value is within three standard errors, or what counts as no difference."""
        mean, error = mean_and_error(self.measured)
        allowed = max(
            0.0 if math.isnan(error) else _ERRORS * error,
            self.absolute or self.relative * abs(mean),
        )
        off = mean - value if self.bound else abs(mean - value)
        return off <= allowed  # False for NaN


def judge(claim: Claim) -> Verdict:
    """The verdict on one setting.

    >>> judge(Claim(printed=2.0, corrected=1.0, measured=[0.99, 1.0, 1.01]))
    'holds with a correction'
    """
    if math.isnan(mean_and_error(claim.measured)[0]):
        return "not tested"
    if math.isnan(claim.printed) and math.isnan(claim.corrected):
        return "not tested"
    if claim.agrees(claim.printed):
        return "holds"
    return "holds with a correction" if claim.agrees(claim.corrected) else "does not hold"


def summary(claims: Sequence[Claim]) -> tuple[Verdict, str, str]:
    """The verdict on all settings, and how far printed and corrected values are off at most.

    A formula holds where it does in every setting that was tested, and with a correction where
    that does.

    Returns:
        The verdict; the largest excess of the printed and of the corrected values, with the count
        of settings in which they agree, as text.
    """
    tested = [claim for claim in claims if judge(claim) != "not tested"]
    if not tested:
        return "not tested", "", ""
    printed = [c.agrees(c.printed) for c in tested if not math.isnan(c.printed)]
    corrected = [c.agrees(c.corrected) for c in tested if not math.isnan(c.corrected)]
    verdict: Verdict = "does not hold"
    if printed and all(printed):
        verdict = "holds"
    elif len(corrected) == len(tested) and all(corrected):
        verdict = "holds with a correction"
    return verdict, _said(tested, "printed"), _said(tested, "corrected")


def _said(claims: Sequence[Claim], which: str) -> str:
    known = [(c, getattr(c, which)) for c in claims if not math.isnan(getattr(c, which))]
    if not known:
        return ""
    claim, value = max(known, key=lambda pair: abs(pair[0].excess(pair[1])))
    agree = sum(c.agrees(v) for c, v in known)
    return f"{agree} of {len(known)} agree; off by {_difference(claim, value)} at most"


def _difference(claim: Claim, value: float) -> str:
    off = claim.excess(value)
    if claim.absolute:
        return f"{off:+.3f}"
    return f"{100 * off:+.1f} %" if abs(off) < 10 else f"{off:+.1e} times"
