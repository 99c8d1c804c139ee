"""STOI, PESQ and SI-SDR: other implementations, what they mean, and signals they do not fit."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile

from squall.scoring import (
    SI_SDR_LIMIT_DB,
    Score,
    SpeechPair,
    score_pairs,
    score_pesq,
    score_si_sdr,
    score_speech,
    score_stoi,
    summarise_metric,
)
from squall.scoring.speech_quality import _count_utterances, _most_utterances

pystoi = pytest.importorskip("pystoi")
pesq = pytest.importorskip("pesq")

RATE_HZ = 16000
METRICS = [score_stoi, score_pesq, score_si_sdr]
QUALITY = ("stoi", "estoi", "pesq_nb", "pesq_wb", "si_sdr")


def _bursts(seconds, *, on_s=0.25, off_s=0.25, seed=0):
    """Noise that comes and goes, which the speech detectors take for speech."""
    random = np.random.default_rng(seed)
    noise = 0.1 * random.standard_normal(round(seconds * RATE_HZ))
    phase = np.arange(len(noise)) % round((on_s + off_s) * RATE_HZ)
    return np.where(phase < on_s * RATE_HZ, noise, 0.0)


def _add_noise(samples, snr_db, seed=1):
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    gain = np.sqrt((samples @ samples) / (noise @ noise) / 10 ** (snr_db / 10))
    return samples + gain * noise


@pytest.fixture(scope="module")
def speech():
    """Three seconds like speech: noise under a slow envelope."""
    samples = _bursts(3.0, on_s=0.5, off_s=0.1)
    return samples * (1.2 + np.sin(2 * np.pi * 4 * np.arange(len(samples)) / RATE_HZ))


def test_si_sdr_agrees_with_two_other_implementations(speech):
    torch = pytest.importorskip("torch")
    torchmetrics = pytest.importorskip("torchmetrics.functional.audio")
    fast_bss_eval = pytest.importorskip("fast_bss_eval")
    for snr_db, offset in ((-20, 0.0), (0, 0.3), (7, -0.2), (30, 0.0)):
        estimate = 0.3 * _add_noise(speech, snr_db) + offset
        ours = score_si_sdr(reference=speech, estimate=estimate).value
        theirs = torchmetrics.scale_invariant_signal_distortion_ratio(
            torch.from_numpy(estimate), torch.from_numpy(speech), zero_mean=True
        )
        assert ours == pytest.approx(theirs.item(), abs=1e-6)
        other = fast_bss_eval.si_sdr(speech[None], estimate[None], zero_mean=True)
        assert ours == pytest.approx(float(np.squeeze(other)), abs=1e-4)


def test_si_sdr_by_hand():
    # Estimate = 2 x reference + an orthogonal part of a quarter of its energy.
    reference = np.array([1.0, -1.0, 1.0, -1.0])
    estimate = 2 * reference + np.array([1.0, 1.0, -1.0, -1.0])
    value = score_si_sdr(reference=reference, estimate=estimate).value
    assert value == pytest.approx(10 * math.log10(4))


@pytest.mark.parametrize("gain", [1e-12, 0.5, -3.0, 1e12])
def test_si_sdr_does_not_depend_on_level_or_offset(speech, gain):
    noisy = _add_noise(speech, 5)
    value = score_si_sdr(reference=speech, estimate=noisy).value
    assert score_si_sdr(reference=speech, estimate=gain * noisy).value == pytest.approx(value)
    assert score_si_sdr(reference=gain * speech, estimate=noisy).value == pytest.approx(value)
    assert score_si_sdr(reference=speech, estimate=noisy + 0.4).value == pytest.approx(value)


def test_si_sdr_is_held_to_its_limits(speech):
    assert score_si_sdr(reference=speech, estimate=speech).value == SI_SDR_LIMIT_DB
    assert score_si_sdr(reference=speech, estimate=-2 * speech).value == SI_SDR_LIMIT_DB
    nearly = _add_noise(speech, 130)
    assert score_si_sdr(reference=speech, estimate=nearly).value == SI_SDR_LIMIT_DB
    orthogonal = score_si_sdr(reference=[1.0, -1.0, 1.0, -1.0], estimate=[1.0, 1.0, -1.0, -1.0])
    assert orthogonal.value == -SI_SDR_LIMIT_DB


def test_references_and_estimates_are_not_interchangeable(speech):
    # A tone on top of silence: in one direction distortion, in the other a missing part.
    estimate = np.where(np.arange(len(speech)) % 16000 < 8000, speech, 0.0)
    one = score_stoi(reference=speech, estimate=estimate).value
    other = score_stoi(reference=estimate, estimate=speech).value
    assert abs(one - other) > 0.05


@pytest.mark.parametrize("extended", [False, True])
def test_stoi_is_that_of_its_authors_code(speech, extended):
    noisy = _add_noise(speech, 0)
    theirs = pystoi.stoi(speech, noisy, RATE_HZ, extended=extended)
    signals = {"reference": speech, "estimate": noisy, "extended": extended}
    assert score_stoi(**signals, remove_mean=False).value == pytest.approx(theirs, abs=1e-9)
    ours = score_stoi(**signals).value
    assert ours == pytest.approx(theirs, abs=1e-4)
    classic = score_stoi(reference=speech, estimate=noisy).value
    assert (abs(ours - classic) > 0.01) == extended


@pytest.mark.parametrize("offset", [0.003, -0.3])
def test_a_constant_offset_changes_no_score(speech, offset):
    reference = speech - speech.mean()
    estimate = _add_noise(reference, 0)
    plain = score_speech(reference=reference, estimate=estimate, scores=QUALITY)
    shifted = score_speech(reference=reference + offset, estimate=estimate, scores=QUALITY)
    for name, score in shifted.metrics().items():
        assert score.value == pytest.approx(plain.metrics()[name].value, abs=1e-6), name
    kept = score_stoi(reference=reference + offset, estimate=estimate, remove_mean=False)
    assert abs(kept.value - plain["stoi"].value) > 0.02


def test_perfect_estimates_have_the_highest_scores(speech):
    def score(metric, **options):
        return metric(reference=speech, estimate=speech, **options).value

    assert score(score_stoi) == pytest.approx(1, abs=1e-6)
    assert score(score_stoi, extended=True) == pytest.approx(1, abs=1e-6)
    # The raw score of a perfect estimate is 4.5, mapped by P.862.1 and P.862.2.
    narrow = 0.999 + 4 / (1 + math.exp(-1.4945 * 4.5 + 4.6607))
    wide = 0.999 + 4 / (1 + math.exp(-1.3669 * 4.5 + 3.8224))
    assert score(score_pesq, mode="nb") == pytest.approx(narrow, abs=1e-3)
    assert score(score_pesq, mode="wb") == pytest.approx(wide, abs=1e-3)
    assert score(score_pesq) == score(score_pesq, mode="wb")


@pytest.mark.slow
@pytest.mark.corpus
def test_scores_of_real_speech_rise_with_the_snr(real_data):
    path = sorted((real_data / "librispeech-sample").rglob("*.flac"))[0]
    clean, rate_hz = soundfile.read(path, frames=5 * RATE_HZ)
    assert rate_hz == RATE_HZ
    scores = [
        score_speech(reference=clean, estimate=_add_noise(clean, snr_db), scores=QUALITY)
        for snr_db in (-5, 5, 15, 30)
    ]
    for metric in QUALITY:
        values = [each[metric].value for each in scores]
        assert values == sorted(values), metric
        assert values[-1] - values[0] > 0.1
    assert scores[1]["si_sdr"].value == pytest.approx(5, abs=0.2)
    assert all(each.reason == "" for each in scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r, e: (0 * r, e), "the reference is silent"),
        (lambda r, e: (r, 0 * e), "the estimate is silent"),
        (lambda r, e: (0 * r, 0 * e), "the reference is silent"),
        (lambda r, e: (r, 0 * e + 0.1), "the estimate is silent"),
        (lambda r, e: (r, np.where(e == e[7], np.nan, e)), "the estimate has samples that are not"),
        (lambda r, e: (np.where(r == r[7], np.inf, r), e), "the reference has samples that are"),
        (lambda r, e: (r[:0], e[:0]), "no samples"),
        (lambda r, e: (r[:1], e[:1]), "the reference is silent"),
    ],
)
def test_signals_without_a_score_have_a_reason(speech, metric, spoil, reason):
    reference, estimate = spoil(speech, _add_noise(speech, 5))
    score = metric(reference=reference, estimate=estimate)
    assert math.isnan(score.value)
    assert not score.defined
    assert score.reason.startswith(reason)


@pytest.mark.parametrize("samples", [2, 100, 400, 500, 3000, 6000])
@pytest.mark.parametrize("extended", [False, True])
def test_stoi_of_too_little_speech_is_nan_without_a_warning(speech, samples, extended):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = score_stoi(
            reference=speech[:samples],
            estimate=_add_noise(speech[:samples], 5),
            extended=extended,
        )
    assert math.isnan(score.value)
    assert score.reason == "less than 0.4 s of speech"


def test_stoi_of_a_long_signal_with_little_speech_is_nan(speech):
    samples = np.zeros(3 * RATE_HZ)
    samples[:4000] = speech[:4000]
    noisy = samples + 1e-3 * np.random.default_rng(0).standard_normal(len(samples))
    assert score_stoi(reference=samples, estimate=noisy).reason == "less than 0.4 s of speech"


def test_pesq_of_a_short_signal_is_nan(speech):
    score = score_pesq(reference=speech[:3999], estimate=_add_noise(speech[:3999], 5))
    assert score.reason == "shorter than 0.25 s"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (pesq.NoUtterancesError(b"No utterances detected"), "PESQ finds no speech"),
        (pesq.BufferTooShortError(b"Buffer too short"), "PESQ fails: Buffer too short"),
        (ValueError("cannot convert float NaN to integer"), "PESQ fails: cannot convert"),
    ],
)
def test_what_pesq_raises_becomes_a_reason(speech, monkeypatch, error, reason):
    def fail(*_arguments):
        raise error

    monkeypatch.setattr(pesq, "pesq", fail)
    score = score_pesq(reference=speech, estimate=_add_noise(speech, 5))
    assert math.isnan(score.value)
    assert score.reason.startswith(reason)


@pytest.mark.parametrize("mode", ["nb", "wb"])
def test_pesq_is_not_called_where_it_would_write_beyond_its_arrays(mode):
    """Sixty utterances: the package crashes or gives a wrong score."""
    reference = _bursts(42.0, on_s=0.35, off_s=0.35)
    score = score_pesq(reference=reference, estimate=_add_noise(reference, 20), mode=mode)
    assert score.reason.startswith("too many utterances for PESQ")


def test_an_offset_hides_no_utterances_from_the_count():
    samples = _bursts(36.0)
    assert _most_utterances(samples + 0.5, RATE_HZ) == _most_utterances(samples, RATE_HZ) > 50


def test_pesq_of_a_long_signal_with_few_utterances_has_a_score():
    reference = _bursts(24.0, on_s=2.5, off_s=0.5)
    assert _most_utterances(reference, RATE_HZ) == 8
    assert score_pesq(reference=reference, estimate=_add_noise(reference, 20)).defined


def test_utterances_are_long_enough_and_far_enough_apart():
    def windows(*lengths):
        speaking = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        return _count_utterances(speaking)

    assert windows(10, 50, 51, 50, 10) == 2
    assert windows(10, 50, 50, 50, 10) == 1  # too close: one utterance
    assert windows(10, 49, 51, 50, 10) == 1  # too short: none
    assert windows(10, 30, 20, 30, 10) == 1  # joined before it is measured
    assert windows(10, 50, 30, 4, 30, 50, 10) == 2  # a click joins nothing
    assert windows(10) == 0
    assert windows(0, 60) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_shapes_are_named(speech, metric):
    with pytest.raises(ValueError, match="reference has 48000 samples, estimate 47999"):
        metric(reference=speech, estimate=speech[:-1])
    with pytest.raises(ValueError, match=r"reference has shape \(2, 24000\)"):
        metric(reference=speech.reshape(2, -1), estimate=speech.reshape(2, -1))


def test_wrong_rates_and_modes_are_named(speech):
    pair = {"reference": speech, "estimate": speech}
    with pytest.raises(ValueError, match="PESQ wb takes 16000 Hz, not 8000"):
        score_pesq(**pair, sample_rate_hz=8000, mode="wb")
    with pytest.raises(ValueError, match="PESQ nb takes 8000 or 16000 Hz, not 44100"):
        score_pesq(**pair, sample_rate_hz=44100, mode="nb")
    with pytest.raises(ValueError, match="unknown PESQ mode 'swb'"):
        score_pesq(**pair, mode="swb")
    with pytest.raises(ValueError, match="not 48000: resample first"):
        score_speech(**pair, sample_rate_hz=48000)
    with pytest.raises(ValueError, match="sample_rate_hz is 0"):
        score_stoi(**pair, sample_rate_hz=0)
    with pytest.raises(ValueError, match=r"sample_rate_hz is 16000\.5"):
        score_stoi(**pair, sample_rate_hz=16000.5)


def test_the_sampling_rate_may_be_a_whole_float(speech):
    pair = {"reference": speech, "estimate": _add_noise(speech, 5)}
    assert score_stoi(**pair, sample_rate_hz=16000.0) == score_stoi(**pair)


def test_at_8_khz_there_is_no_wide_band_pesq(speech):
    scores = score_speech(reference=speech, estimate=_add_noise(speech, 5), sample_rate_hz=8000)
    assert scores["pesq_nb"].defined
    assert scores.reason == "pesq_wb: wide-band PESQ needs 16000 Hz"


def test_single_precision_and_integers_are_taken(speech):
    noisy = _add_noise(speech, 5)
    scale = 30000 / np.abs(noisy).max()
    double = score_speech(reference=speech, estimate=noisy)
    single = score_speech(reference=speech.astype(np.float32), estimate=noisy.astype(np.float32))
    integer = score_speech(
        reference=np.round(scale * speech).astype(np.int16),
        estimate=np.round(scale * noisy).astype(np.int16),
    )
    for name, score in double.metrics().items():
        assert single.metrics()[name].value == pytest.approx(score.value, abs=1e-3)
        assert integer.metrics()[name].value == pytest.approx(score.value, abs=1e-2)


def test_the_random_state_of_others_is_left_alone(speech):
    before = np.random.get_state()[1].tobytes()
    score_stoi(reference=speech, estimate=_add_noise(speech, 5), extended=True)
    assert np.random.get_state()[1].tobytes() == before


def test_missing_packages_are_named_with_a_hint(speech, monkeypatch):
    pair = {"reference": speech, "estimate": _add_noise(speech, 5)}
    for module, metric in (("pystoi", score_stoi), ("pesq", score_pesq)):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=rf"{module}: pip install 'squall\[enhance\]'"):
                metric(**pair)


def test_scoring_is_imported_without_the_packages():
    code = "import sys, squall.scoring; print({'pystoi', 'pesq', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def pairs(speech):
    reference = speech[:RATE_HZ]
    return [
        SpeechPair(reference=reference, estimate=_add_noise(reference, snr_db))
        for snr_db in (0, 3, 6, 9, 12, 15, 18, 21, 24, 27)
    ]


@pytest.mark.slow
def test_processes_give_the_same_scores_in_the_same_order(pairs):
    alone = list(score_pairs(pairs, scores=QUALITY))
    assert list(score_pairs(iter(pairs), scores=QUALITY, jobs=2)) == alone
    assert [round(scores["si_sdr"].value) for scores in alone] == list(range(0, 30, 3))


def test_pairs_are_read_as_they_are_needed(pairs):
    taken = []
    source = (taken.append(number) or pair for number, pair in enumerate(pairs))
    results = score_pairs(source)
    next(results)
    assert taken == [0]


@pytest.mark.slow
def test_a_pair_that_brings_pesq_down_costs_its_pesq_only(pairs, tmp_path, monkeypatch):
    (tmp_path / "pesq.py").write_text(
        "import os\n"
        "class PesqError(Exception): pass\n"
        "class NoUtterancesError(PesqError): pass\n"
        "def pesq(rate, reference, estimate, mode):\n"
        "    return 2.5 if len(estimate) == 16000 else os._exit(139)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)  # new processes have it; this one has the real package
    pairs[2] = SpeechPair(reference=pairs[2].reference[:-1], estimate=pairs[2].estimate[:-1])
    scores = list(score_pairs(pairs[:6], jobs=2))
    crashed = [each["pesq_wb"].reason for each in scores]
    assert crashed == ["", "", "PESQ brought its process down", "", "", ""]
    assert all(each["pesq_nb"].value == 2.5 for each in scores[:2] + scores[3:])
    assert scores[2]["stoi"].defined
    assert [round(each["si_sdr"].value) for each in scores] == [0, 3, 6, 9, 12, 15]


@pytest.mark.slow
def test_an_error_in_a_process_reaches_the_caller(pairs):
    pairs[1] = SpeechPair(reference=pairs[1].reference, estimate=pairs[1].estimate[:-1])
    with pytest.raises(ValueError, match="16000 samples, estimate 15999"):
        list(score_pairs(pairs[:3], jobs=2))
    with pytest.raises(ValueError, match="jobs is 0"):
        list(score_pairs(pairs, jobs=0))


@pytest.mark.parametrize("level", [1e-300, 1e-30, 1e-16, 1e-3, 1e3, 1e30])
def test_stoi_does_not_depend_on_the_level(pairs, level):
    pair = pairs[2]
    scaled = score_stoi(reference=pair.reference * level, estimate=pair.estimate * level)
    plain = score_stoi(reference=pair.reference, estimate=pair.estimate)
    assert scaled.value == pytest.approx(plain.value, abs=1e-9)


def test_a_summary_counts_what_has_no_score():
    scores = [Score(1.0), Score(math.nan, "too short"), Score(2.0), Score(6.0)]
    summary = summarise_metric(scores)
    assert (summary.mean, summary.scored, summary.undefined) == (3.0, 3, 1)
    assert 1.0 <= summary.low < 3.0 < summary.high <= 6.0
    assert summarise_metric(scores) == summary
    one = summarise_metric([Score(1.5)])
    assert (one.mean, one.scored) == (1.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(summarise_metric([]).mean)


def test_the_interval_covers_the_mean_of_the_source_about_95_times_in_100():
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        values = [Score(float(value)) for value in random.normal(size=60)]
        summary = summarise_metric(values, resamples=500)
        inside += summary.low <= 0.0 <= summary.high
    assert 0.90 <= inside / 300 <= 0.98
