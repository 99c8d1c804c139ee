"""Speech told from the rest, frame by frame: by the network of silero-vad, or by the level."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from squall.audio.reading import SAMPLE_RATE_HZ

__all__ = [
    "FRAME_S",
    "FRAME_SAMPLES",
    "VOICE_ACTIVITY",
    "EnergyActivity",
    "SileroActivity",
    "VoiceActivity",
    "build_voice_activity",
    "frame_levels_db",
]

FRAME_SAMPLES = 512
"""Length and distance of the frames at 16 kHz: what silero-vad takes."""

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
"""The same in seconds, 32 ms."""

VOICE_ACTIVITY = ("silero", "energy")
"""The kinds of `build_voice_activity`."""

_SILENCE_DB = -100.0


class VoiceActivity(Protocol):
    """Tells in which frames of a recording there is speech."""

    name: str

    def reset(self) -> None:
        """Begin with another recording."""

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Go on with frames (T, 512) of samples at 16 kHz, and tell which have speech, (T,)."""


def build_voice_activity(name: str | None = None) -> VoiceActivity:
    """A detector by its name; None takes silero where it is installed, and the level elsewhere.

    Raises:
        ImportError: silero is asked for and not installed.
        ValueError: there is no such detector.
    """
    if name is None:
        name = "silero" if find_spec("silero_vad") else "energy"
    if name == "silero":
        return SileroActivity()
    if name == "energy":
        return EnergyActivity()
    raise ValueError(f"voice activity {name!r}: there is {' and '.join(VOICE_ACTIVITY)}")


def frame_levels_db(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean power of frames (T, n) in dB of full scale, (T,), at least -100."""
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return 10 * np.log10(np.maximum(power, 10 ** (_SILENCE_DB / 10)))


class EnergyActivity:
    """Frames that are louder than the background by some dB, and those shortly after them.

    The background is the level below which a tenth of the frames of a block lie (each call is one
    block), but at most 6 dB above that of the block before: speech that goes on without a pause is
    not taken for background. Steady noise is told from speech, a slammed door is not.

    Args:
        above_db: how much louder than the background speech is, in dB.
        lowest_db: what is below is never speech, in dB of full scale.
        hangover_s: how long speech lasts beyond its last loud frame, in seconds.
    """

    name = "energy"
    _SHARE = 0.1
    _RISE_DB = 6.0

    def __init__(
        self, *, above_db: float = 6.0, lowest_db: float = -65.0, hangover_s: float = 0.1
    ) -> None:
        self._above_db, self._lowest_db = above_db, lowest_db
        self._hangover = round(hangover_s / FRAME_S)
        self.reset()

    def reset(self) -> None:
        """Begin with another recording."""
        self._background_db = np.inf
        self._left = 0  # of the hangover

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.bool_]:
        """As `VoiceActivity.__call__`; a call is best of half a minute."""
        levels_db = frame_levels_db(frames)
        now_db = float(np.quantile(levels_db, self._SHARE))
        self._background_db = min(now_db, self._background_db + self._RISE_DB)
        loud = levels_db > max(self._background_db + self._above_db, self._lowest_db)
        speech = np.zeros(len(loud), bool)
        for number, is_loud in enumerate(loud.tolist()):
            self._left = self._hangover + 1 if is_loud else max(0, self._left - 1)
            speech[number] = self._left > 0
        return speech


class SileroActivity:
    """The network of the package silero-vad, version 6, which has its weights in it.

    Args:
        threshold: probability from which on a frame is speech, in [0, 1]; silero's own default.

    Raises:
        ImportError: the package is not installed.

    Source: Silero Team, https://github.com/snakers4/silero-vad, MIT licence.
    """

    name = "silero"

    def __init__(self, *, threshold: float = 0.5) -> None:
        if not find_spec("silero_vad"):
            raise ImportError(
                "the detector silero needs the package silero-vad: pip install 'squall[vad]', or "
                "take the detector energy"
            )
        self._threshold = threshold
        self._model: Any = None

    def reset(self) -> None:
        """Begin with another recording."""
        self._model = self._model or _load_silero()
        self._model.reset_states()

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.bool_]:
        """As `VoiceActivity.__call__`."""
        import torch

        with torch.inference_mode():
            rows = torch.from_numpy(np.ascontiguousarray(frames))[:, None]  # (T, 1, 512)
            probs = [float(self._model(row, SAMPLE_RATE_HZ)) for row in rows]
        return np.array(probs) > self._threshold


def _load_silero() -> Any:
    import torch

    threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad  # which gives torch a single thread
    finally:
        torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch about TorchScript, in which the weights are
        return load_silero_vad()
