"""What listeners would say of speech, estimated without its original: DNSMOS.

Needs `speechmos`, which has the networks inside, and what it does not declare: `onnxruntime`,
`librosa` and `requests`; all of them come with `pip install 'squall[mos]'`.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.speech_signals import Score, finite_score, import_package, unfit

__all__ = ["DNSMOS_SCORES", "score_dnsmos"]

DNSMOS_SCORES = {
    "dnsmos_ovrl": "ovrl_mos",
    "dnsmos_sig": "sig_mos",
    "dnsmos_bak": "bak_mos",
    "dnsmos_p808": "p808_mos",
}
"""Names of the scores, and what the package calls them."""

_RATE_HZ = 16000
_SHORTEST_S = 0.25
_REMEMBERED = 9  # no doubled signal has more different stretches that come again


def score_dnsmos(*, estimate: ArrayLike, sample_rate_hz: int = 16000) -> dict[str, Score]:
    """DNSMOS: mean opinion scores as networks estimate them from the signal alone.

    Args:
        estimate: (N,) the noisy or enhanced speech in [-1, 1]; its level counts.
        sample_rate_hz: 16000; other rates have no score.

    Returns:
        From 1 to 5, the higher the better: `dnsmos_ovrl` (overall), `dnsmos_sig` (the speech) and
        `dnsmos_bak` (the background) of P.835, and `dnsmos_p808` (overall, of P.808). NaN where the
        signal is shorter than 0.25 s, silent, not at 16 kHz, or a sample is not finite.

    Raises:
        ValueError: the signal is not a vector.
        ImportError: a package is not installed.

    Convention: as the package does it. The networks hear 9.01 s at a time, in steps of 1 s, and the
    mean is taken; a shorter signal is doubled until it is long enough. So a signal of 4.5 s is
    heard 9 times, one of 4.6 s once, and of a longer one up to 1.99 s at its end are not heard
    (findings/speechmos_last_seconds.sh). Where a sample is beyond full scale, as after resampling,
    the whole signal is scaled down to it: the package refuses it otherwise.

    Source: Reddy, Gopal, Cutler 2022 (P.835) and 2021 (P.808), with the authors' networks in
    `speechmos`.
    """
    signal = np.asarray(estimate, dtype=np.float64)
    if signal.ndim != 1:
        raise ValueError(
            f"estimate has shape {signal.shape}; give a vector of samples, one channel"
        )
    reason = unfit(estimate=signal)
    if not reason and sample_rate_hz != _RATE_HZ:
        reason = "DNSMOS needs 16000 Hz"
    if not reason and len(signal) < _SHORTEST_S * _RATE_HZ:
        reason = "shorter than 0.25 s"
    if reason:
        return dict.fromkeys(DNSMOS_SCORES, Score(math.nan, reason))
    signal = signal / max(1.0, float(np.abs(signal).max()))
    found = _networks()(signal.astype(np.float32), _RATE_HZ, False)
    return {
        name: finite_score(float(found[theirs]), "DNSMOS") for name, theirs in DNSMOS_SCORES.items()
    }


@functools.cache
def _networks() -> Any:
    """The networks, read once, on one thread: several processes score at a time."""
    runtime = import_package("onnxruntime", "DNSMOS", "mos")
    import_package("librosa", "DNSMOS", "mos")
    package = import_package("speechmos.dnsmos", "DNSMOS", "mos")
    folder = Path(package.__file__).parent / "dnsmos_models"
    paths = [str(folder / name) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")]
    networks = package.DNSMOS(*paths)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    networks.onnx_sess, networks.p808_onnx_sess = (
        _Remembering(runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))
        for path in paths
    )
    return networks


class _Remembering:
    """A session that does not compute the same thing again.

    A signal that is doubled is the same again after its length: of one of 4 s, three of the seven
    stretches that are heard are others once more.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._known: deque[tuple[bytes, Any]] = deque(maxlen=_REMEMBERED)

    def run(self, names: Any, inputs: dict[str, NDArray[np.float32]]) -> Any:
        """As the session's own."""
        (values,) = inputs.values()
        mark = hashlib.blake2b(values.tobytes(), digest_size=16).digest()
        for known, found in self._known:
            if known == mark:
                return found
        self._known.append((mark, self._session.run(names, inputs)))
        return self._known[-1][1]
