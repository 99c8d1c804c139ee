"""The eSpeak NG library behind ctypes, run as a program: one utterance, then the process ends.

The request is a JSON object on standard input: `library`, `data`, `text`, `voice`, `rate_wpm`,
`pitch`, `pitch_range`. The answer on standard output is one line of JSON (`version`,
`sample_rate_hz`, `events`) and then the samples, 16-bit in the machine's byte order. Only the
standard library is imported, so that a process is up in milliseconds.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

__all__: list[str] = []

# Numbers and layouts from espeak-ng's speak_lib.h, version 1.52.
_RETRIEVAL = 1
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000
_UTF8 = 1
_AT_CHARACTER = 1
_PARAMETERS = {"rate_wpm": 1, "pitch": 3, "pitch_range": 4}
_LIST_END = 0
_WORD = 1
_PHONEME = 7
_SEED = 1


class _Id(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def _synthesise(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    library = ctypes.CDLL(request["library"])
    library.espeak_Info.restype = ctypes.c_char_p
    options = _PHONEME_EVENTS | _DONT_EXIT
    data = request["data"].encode()
    sample_rate_hz = library.espeak_Initialize(_RETRIEVAL, 0, data, options)
    if sample_rate_hz <= 0:
        raise RuntimeError(f"eSpeak NG does not start with the data folder {request['data']}")
    # The engine seeds the noise of its consonants from the clock.
    library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
    chunks: list[bytes] = []
    events: list[list[Any]] = []

    @_Callback  # type: ignore[untyped-decorator]
    def collect(wave: Any, count: int, event: Any) -> int:
        if wave and count > 0:
            chunks.append(ctypes.string_at(wave, count * 2))
        _collect_events(event, events)
        return 0

    library.espeak_SetSynthCallback(collect)
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        raise RuntimeError(f"eSpeak NG has no voice {request['voice']!r}")
    for name, number in _PARAMETERS.items():
        library.espeak_SetParameter(number, int(request[name]), 0)
    text = request["text"].encode() + b"\0"
    status = library.espeak_Synth(text, len(text), 0, _AT_CHARACTER, 0, _UTF8, None, None)
    if status != 0 or library.espeak_Synchronize() != 0:
        raise RuntimeError(f"eSpeak NG fails on {request['text']!r}")
    version = library.espeak_Info(None).decode()
    answer = {"version": version, "sample_rate_hz": sample_rate_hz, "events": events}
    return answer, b"".join(chunks)


def _collect_events(event: Any, events: list[list[Any]]) -> None:
    index = 0
    while event[index].type != _LIST_END:
        item = event[index]
        if item.type == _WORD:
            events.append(["word", item.sample, item.text_position, item.length])
        elif item.type == _PHONEME:
            label = item.id.string.decode()
            events.append(["phone", item.sample, item.text_position, label])
        index += 1


def _main() -> int:
    try:
        answer, samples = _synthesise(json.load(sys.stdin))
    except (OSError, RuntimeError) as error:
        sys.stderr.write(str(error))
        return 1
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + samples)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
