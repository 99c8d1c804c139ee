"""Mixing: the SNR asked for, plans that depend on nothing else, and an error for each bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from squall.audio.mixing import (
    MixedSignal,
    Mixture,
    SnrOver,
    active_samples,
    make_mixture,
    mix_at_snr,
    noise_span,
    plan_mixtures,
    read_mixtures,
    write_mixtures,
)
from squall.audio.noise import read_noise
from squall.audio.offset import subtract_mean
from squall.corpora.librispeech import prepare_librispeech
from squall.corpora.manifest import read_utterance

RATE_HZ = 16000
_OVER = st.sampled_from(["whole", "active"])
Samples = NDArray[np.float32]


def _noise(samples: int, *, seed: int = 0, level: float = 0.1) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def _speech(samples: int, *, seed: int = 1, level: float = 0.1) -> Samples:
    """Noise in bursts of 100 ms with silence between."""
    bursts = (np.arange(samples) // 1600) % 2 == 0
    return (_noise(samples, seed=seed, level=level) * bursts).astype(np.float32)


def _measured_db(mixed: MixedSignal, counted: NDArray[np.bool_] | None = None) -> float:
    energies = [0.0, 0.0]
    for n in range(len(mixed.noisy)):
        if counted is None or counted[n]:
            energies[0] += float(mixed.speech[n]) ** 2
            energies[1] += float(mixed.noise[n]) ** 2
    return 10 * math.log10(energies[0] / energies[1])


def _naive_active(speech: Samples, rate_hz: int) -> NDArray[np.bool_]:
    """The definition, frame by frame: within 40 dB of the loudest, 20 ms every 10 ms."""
    frame, hop = round(0.020 * rate_hz), round(0.010 * rate_hz)
    starts = list(range(0, max(1, len(speech)), hop))
    energies = [sum(float(x) ** 2 for x in speech[s : s + frame]) for s in starts]
    active = np.zeros(len(speech), np.bool_)
    for start, energy in zip(starts, energies, strict=True):
        if energy > 0 and 10 * math.log10(energy / max(energies)) > -40:
            active[start : start + frame] = True
    return active


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(2, 3000),
    seed=st.integers(0, 2**32),
    snr_db=st.floats(-60, 60),
    levels=st.tuples(st.floats(1e-5, 2.0), st.floats(1e-5, 2.0)),
    remove_mean=st.booleans(),
)
def test_the_measured_snr_is_the_one_asked_for(
    samples: int, seed: int, snr_db: float, levels: tuple[float, float], remove_mean: bool
) -> None:
    speech = _speech(samples, seed=seed, level=levels[0])
    noise = _noise(samples, seed=seed + 1, level=levels[1])
    given_speech, given_noise = speech.copy(), noise.copy()
    mixed = mix_at_snr(speech=speech, noise=noise, snr_db=snr_db, remove_mean=remove_mean)
    assert _measured_db(mixed) == pytest.approx(snr_db, abs=0.01)
    assert np.array_equal(mixed.noisy, mixed.speech + mixed.noise)
    assert {x.dtype for x in (mixed.speech, mixed.noise, mixed.noisy)} == {np.dtype(np.float32)}
    assert mixed.noisy.shape == (samples,)
    peak = max(np.abs(x).max() for x in (mixed.speech, mixed.noise, mixed.noisy))
    assert peak <= 1
    assert mixed.gain == 1.0 or peak == pytest.approx(0.99, abs=1e-6)
    factor = mixed.noise_gain * mixed.gain
    parts = (given_speech, given_noise)
    if remove_mean:
        parts = (subtract_mean(speech), subtract_mean(noise))
    np.testing.assert_allclose(mixed.speech, parts[0] * mixed.gain, rtol=1e-6)
    np.testing.assert_allclose(mixed.noise, parts[1] * factor, rtol=1e-6)
    assert np.array_equal(speech, given_speech)
    assert np.array_equal(noise, given_noise)


@settings(max_examples=30, deadline=None)
@given(offsets=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), over=_OVER)
def test_the_snr_is_that_of_what_is_heard_whatever_the_offsets(
    offsets: tuple[float, float], over: SnrOver
) -> None:
    speech, noise = _speech(3200, level=0.05), _noise(3200, level=0.05)
    plain = mix_at_snr(speech=speech, noise=noise, snr_db=5.0, over=over)
    mixed = mix_at_snr(
        speech=speech + np.float32(offsets[0]),
        noise=noise + np.float32(offsets[1]),
        snr_db=5.0,
        over=over,
    )
    np.testing.assert_allclose(mixed.noisy, plain.noisy, atol=1e-6)


def test_an_offset_counts_as_speech_only_where_that_is_asked_for() -> None:
    speech, noise = _speech(3200, level=0.068), _noise(3200)
    shifted = speech + np.float32(0.257)
    mixed = mix_at_snr(speech=shifted, noise=noise, snr_db=5.0, remove_mean=False)
    heard_db = 20 * math.log10(mixed.gain * speech.std() / mixed.noise.std())
    assert heard_db == pytest.approx(-9.5, abs=0.5)


def test_a_constant_is_silence() -> None:
    constant = np.full(1600, 0.1, np.float32)
    with pytest.raises(ValueError, match="speech is silent: zeros or a constant"):
        mix_at_snr(speech=constant, noise=_noise(1600), snr_db=0.0)
    with pytest.raises(ValueError, match="noise is silent: zeros or a constant"):
        mix_at_snr(speech=_speech(1600), noise=constant, snr_db=0.0)


def test_gains_by_hand() -> None:
    speech, noise = np.full(4, 0.5, np.float32), np.array([0.1, -0.1, 0.1, -0.1], np.float32)
    speech[1::2] *= -1
    noise[2:] *= -1
    mixed = mix_at_snr(speech=speech, noise=noise, snr_db=20.0)
    assert mixed.noise_gain == pytest.approx(0.5)
    assert mixed.gain == 1.0
    np.testing.assert_allclose(mixed.noisy, [0.55, -0.55, 0.45, -0.45], rtol=1e-6)
    loud = mix_at_snr(speech=speech, noise=noise, snr_db=-20.0)
    assert loud.noise_gain == pytest.approx(50.0)
    assert loud.gain == pytest.approx(0.99 / 5.5)
    np.testing.assert_allclose(loud.noisy, np.array([5.5, -5.5, -4.5, 4.5]) * 0.18, rtol=1e-6)


def test_a_part_beyond_full_scale_scales_all_although_the_sum_is_not() -> None:
    speech = np.array([1.2, 0.1], np.float32)
    noise = np.array([-0.5, 0.1], np.float32)
    mixed = mix_at_snr(speech=speech, noise=noise, snr_db=10.0, remove_mean=False)
    assert mixed.gain == pytest.approx(0.99 / 1.2)
    assert np.abs(mixed.speech).max() == pytest.approx(0.99)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000])
def test_the_active_part_is_that_of_its_definition(rate_hz: int) -> None:
    speech = _speech(5000, level=0.2)
    speech[1600:3200] = _noise(1600, level=0.2 * 10 ** (-30 / 20))
    speech[3200:] *= np.float32(10 ** (-50 / 20))
    active = active_samples(speech, rate_hz, remove_mean=False)
    shifted = subtract_mean(speech) + np.float32(0.3)
    assert np.array_equal(active_samples(shifted, rate_hz), active_samples(speech, rate_hz))
    assert np.array_equal(active, _naive_active(speech, rate_hz))
    assert active[:3200].all()
    assert not active[3200 + round(0.02 * rate_hz) :].any()


def test_the_snr_over_the_active_part_leaves_pauses_out() -> None:
    how: dict[str, Any] = {"speech": _speech(16000), "noise": _noise(16000), "snr_db": 3.0}
    how["remove_mean"] = False
    mixed = mix_at_snr(**how, over="active")
    active = _naive_active(how["speech"], RATE_HZ)
    assert _measured_db(mixed, active) == pytest.approx(3.0, abs=0.01)
    assert mixed.noise_gain > 1.2 * mix_at_snr(**how).noise_gain


_GOOD = {"speech": _speech(1600), "noise": _noise(1600), "snr_db": 0.0}


def _with(position: int, value: float) -> Samples:
    samples = _noise(1600)
    samples[position] = value
    return samples


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"noise": _noise(800)},
            r"noise has 0\.050 s \(800 samples\), speech 0\.100 s \(1600 samples\)",
        ),
        ({"noise": _noise(1601)}, "noise has"),
        ({"speech": np.zeros(1600, np.float32)}, "speech is silent"),
        ({"noise": np.zeros(1600, np.float32)}, "noise is silent"),
        ({"speech": _with(7, np.nan)}, "speech: sample 7 is nan"),
        ({"noise": _with(9, -np.inf)}, "noise: sample 9 is -inf"),
        ({"snr_db": math.nan}, "snr_db is nan: give a finite"),
        ({"snr_db": math.inf}, "snr_db is inf: give a finite"),
        ({"snr_db": 1e4}, "snr_db is 10000: .* do not fit into 32-bit floats"),
        ({"snr_db": -1e4}, "snr_db is -10000: .* do not fit into 32-bit floats"),
        ({"over": "speech"}, "over is 'speech': use 'whole' or 'active'"),
        ({"speech": np.ones(1600, np.int16)}, "speech is int16 of shape"),
        ({"noise": np.ones((1600, 2), np.float32)}, r"noise is float32 of shape \(1600, 2\)"),
        ({"speech": np.zeros(0, np.float32), "noise": np.zeros(0, np.float32)}, "speech is"),
    ],
)
def test_what_cannot_be_mixed_is_named(change: dict[str, Any], reason: str) -> None:
    mix_at_snr(**_GOOD)
    with pytest.raises(ValueError, match=reason):
        mix_at_snr(**{**_GOOD, **change})


def test_noise_that_is_silent_where_somebody_speaks() -> None:
    noise = _noise(3200)
    noise[:2400] = 0
    with pytest.raises(ValueError, match=r"noise is silent: .* where the SNR is measured"):
        mix_at_snr(speech=_speech(3200), noise=noise, snr_db=0.0, over="active", remove_mean=False)


@given(length=st.integers(0, 10**7), dev_share=st.floats(0, 0.999))
def test_the_parts_of_a_noise_share_no_sample(length: int, dev_share: float) -> None:
    spans = [noise_span(length, part, dev_share=dev_share) for part in ("train", "dev", "test")]
    # Each begins where the one before it ends, and together they are the whole.
    assert [spans[0][0], *(last for _, last in spans)] == [0, spans[1][0], spans[2][0], length]
    assert all(0 <= first <= last for first, last in spans)
    assert noise_span(length, "whole", dev_share=dev_share) == (0, length)


def test_the_parts_of_a_noise_by_hand() -> None:
    parts = ("train", "dev", "test", "whole")
    assert [noise_span(801, part) for part in parts] == [(0, 300), (300, 400), (400, 801), (0, 801)]
    assert noise_span(801, "dev", dev_share=0.5) == (200, 400)


def test_bad_parts() -> None:
    with pytest.raises(ValueError, match="noise part 'tset' is unknown; use one of train, dev"):
        noise_span(10, "tset")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dev_share is 1"):
        noise_span(10, "dev", dev_share=1.0)
    with pytest.raises(ValueError, match="length_samples is -1"):
        noise_span(-1, "dev")


UTTERANCES = [("u2", 900), ("u1", 1000)]
NOISES = {"rain": 20000, "babble": 16000}


def _plan(**changes: Any) -> list[Mixture]:
    settings: dict[str, Any] = {"part": "train", "snrs_db": [-5, 0, 2.5], "seed": 7, **changes}
    utterances = settings.pop("utterances", UTTERANCES)
    return plan_mixtures(utterances, settings.pop("noises", NOISES), **settings)


def test_a_plan_has_every_utterance_noise_and_snr_once() -> None:
    plan = _plan(snr_over="active")
    assert len(plan) == len({m.id for m in plan}) == 2 * 2 * 3
    assert [m.id for m in plan] == sorted(m.id for m in plan)
    first = plan[0]
    assert replace(first, offset_samples=0) == Mixture(
        id="u1_babble_-5dB",
        utterance="u1",
        noise="babble",
        noise_part="train",
        offset_samples=0,
        samples=1000,
        snr_db=-5.0,
        snr_over="active",
        condition="babble/-5dB",
        remove_mean=True,
    )
    assert {m.condition for m in plan} == {
        f"{noise}/{snr}dB" for noise in NOISES for snr in ("-5", "0", "2.5")
    }


def test_fewer_mixtures_of_each_utterance_are_some_of_all() -> None:
    everything = _plan()
    few = _plan(per_utterance=2)
    assert set(few) < set(everything)
    assert [m.utterance for m in few] == ["u1"] * 2 + ["u2"] * 2
    assert _plan(per_utterance=6) == everything == _plan(per_utterance=99)
    utterances = [(f"u{number}", 900) for number in range(300)]
    drawn = [m.condition for m in _plan(per_utterance=2, utterances=utterances)]
    counts = {condition: drawn.count(condition) for condition in set(drawn)}
    assert len(counts) == 6  # each about a hundred times
    assert all(70 < count < 130 for count in counts.values())
    assert [m for m in few if m.utterance == "u1"] == _plan(
        per_utterance=2, utterances=UTTERANCES[1:]
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    part=st.sampled_from(["train", "dev", "test", "whole"]),
    length=st.integers(8000, 50000),
)
def test_noise_comes_from_inside_its_part(seed: int, part: str, length: int) -> None:
    first, last = noise_span(length, part)  # type: ignore[arg-type]
    for mixture in _plan(part=part, seed=seed, noises={"n": length}):
        assert first <= mixture.offset_samples <= last - mixture.samples
        assert mixture.noise_part == part


def test_offsets_reach_both_ends_of_a_part() -> None:
    offsets = {
        _plan(seed=seed, noises={"n": 16003}, part="test", utterances=[("u", 8000)], snrs_db=[0])[
            0
        ].offset_samples
        for seed in range(60)
    }
    assert offsets == {8001, 8002, 8003}


def test_an_offset_depends_on_its_own_mixture_alone() -> None:
    plan = {m.id: m for m in _plan()}
    turned = _plan(
        utterances=[("u0", 10), *UTTERANCES[::-1]],
        noises={"wind": 9000, "babble": 16000},
        snrs_db=[12, 0, -5],
    )
    shared = [m for m in turned if m.id in plan]
    assert len(shared) == 2 * 1 * 2
    assert all(plan[m.id] == m for m in shared)
    assert _plan() == list(plan.values())


@pytest.mark.parametrize("field", ["seed", "utterance", "noise", "snr"])
def test_an_offset_changes_with(field: str) -> None:
    one = {"utterances": [("u", 100)], "noises": {"n": 10**6}, "snrs_db": [0.0]}
    other = {
        "seed": {"seed": 8},
        "utterance": {"utterances": [("v", 100)]},
        "noise": {"noises": {"m": 10**6}},
        "snr": {"snrs_db": [1.0]},
    }
    assert _plan(**one)[0].offset_samples != _plan(**{**one, **other[field]})[0].offset_samples


def test_plans_stay_as_they_are() -> None:
    (mixture,) = _plan(utterances=[("u", 100)], noises={"n": 10**6}, snrs_db=[-0.0])
    assert (mixture.id, mixture.offset_samples) == ("u_n_0dB", 183764)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"utterances": []}, "there is no utterance"),
        ({"noises": {}}, "there is no noise"),
        ({"snrs_db": []}, "there is no SNR"),
        ({"utterances": [("u", 5), ("u", 6)]}, "the utterance u is listed twice"),
        ({"snrs_db": [0, 5, -0.0]}, r"the SNR 0\.0 is listed twice"),
        ({"snrs_db": [1.0, 1.0000001]}, "the mixture id u2_rain_1dB is listed twice"),
        ({"snrs_db": [math.nan]}, "snrs_db is"),
        ({"noises": {"coffee shop": 9000}}, "'coffee shop' cannot be part of a mixture's id"),
        ({"utterances": [("a/b", 9)]}, "'a/b' cannot be part"),
        ({"utterances": [("", 9)]}, "'' cannot be part"),
        ({"utterances": [("u", 0)]}, "utterance u has 0 samples"),
        ({"part": "tset"}, "noise part 'tset' is unknown"),
        (
            {"part": "dev", "utterances": [("long", 32000)], "noises": {"typing": 190400}},
            r"noise typing: its part 'dev' has 1\.49 s, utterance long has 2\.00 s. Leave out",
        ),
    ],
)
def test_what_cannot_be_planned_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        _plan(**change)


def test_an_utterance_that_just_fits() -> None:
    (mixture,) = _plan(utterances=[("u", 6000)], noises={"n": 16000}, snrs_db=[0])
    assert mixture.offset_samples == 0
    with pytest.raises(ValueError, match="Leave out"):
        _plan(utterances=[("u", 6001)], noises={"n": 16000}, snrs_db=[0])


@pytest.fixture
def planned() -> tuple[Mixture, Samples, Samples]:
    (mixture,) = _plan(utterances=[("u", 4000)], noises={"rain": 20000}, snrs_db=[-3.0])
    return mixture, _speech(4000), _noise(20000, level=0.9)


def test_a_planned_mixture_is_the_same_to_the_bit(
    planned: tuple[Mixture, Samples, Samples],
) -> None:
    mixture, speech, noise = planned
    mixed = make_mixture(mixture, speech=speech, noise=noise)
    stretch = noise[mixture.offset_samples :][:4000]
    factor = mixed.noise_gain * mixed.gain
    np.testing.assert_allclose(mixed.noise, subtract_mean(stretch) * factor, rtol=1e-6)
    assert _measured_db(mixed) == pytest.approx(-3.0, abs=0.01)
    recorded = mixture.with_gains(mixed)
    assert (recorded.noise_gain, recorded.gain) == (mixed.noise_gain, mixed.gain)
    again = make_mixture(recorded, speech=speech, noise=noise)
    assert again.noisy.tobytes() == mixed.noisy.tobytes()
    assert again.noise.tobytes() == mixed.noise.tobytes()


def test_recorded_gains_are_used_where_sums_differ_in_the_last_digits(
    planned: tuple[Mixture, Samples, Samples],
) -> None:
    mixture, speech, noise = planned
    mixed = make_mixture(mixture, speech=speech, noise=noise)
    elsewhere = replace(mixture, noise_gain=mixed.noise_gain * (1 + 1e-12), gain=mixed.gain)
    assert make_mixture(elsewhere, speech=speech, noise=noise).noise_gain == elsewhere.noise_gain


@pytest.mark.parametrize("name", ["noise_gain", "gain"])
def test_changed_recordings_are_noticed(
    planned: tuple[Mixture, Samples, Samples], name: str
) -> None:
    mixture, speech, noise = planned
    recorded = mixture.with_gains(make_mixture(mixture, speech=speech, noise=noise))
    changed = replace(recorded, **{name: getattr(recorded, name) * 1.001})
    with pytest.raises(ValueError, match=rf"u_rain_-3dB: its {name} was .* have changed"):
        make_mixture(changed, speech=speech, noise=noise)


def test_recordings_of_another_length_are_noticed(
    planned: tuple[Mixture, Samples, Samples],
) -> None:
    mixture, speech, noise = planned
    last = mixture.offset_samples + mixture.samples
    make_mixture(mixture, speech=speech, noise=noise[:last])
    with pytest.raises(ValueError, match=rf"u_rain_-3dB: .* 4000 and {last - 1}: .* changed"):
        make_mixture(mixture, speech=speech, noise=noise[: last - 1])
    with pytest.raises(ValueError, match=r"u_rain_-3dB: .* 3999 and 20000"):
        make_mixture(mixture, speech=speech[:-1], noise=noise)
    noise[mixture.offset_samples : last] = 0
    with pytest.raises(ValueError, match=r"u_rain_-3dB \(rain from sample \d+\): noise is silent"):
        make_mixture(mixture, speech=speech, noise=noise)


names = st.text(st.characters(categories=("L", "N"), include_characters="-_"), min_size=1)
gains = st.none() | st.floats(allow_nan=False, allow_infinity=False)
mixtures = st.builds(
    Mixture,
    id=names,
    utterance=names,
    noise=names,
    noise_part=st.sampled_from(["train", "dev", "test", "whole"]),
    offset_samples=st.integers(0, 2**40),
    samples=st.integers(1, 2**40),
    snr_db=st.floats(-100, 100),
    snr_over=st.sampled_from(["whole", "active"]),
    condition=st.text(),
    noise_gain=gains,
    gain=gains,
    remove_mean=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(table=st.lists(mixtures, unique_by=lambda m: m.id, max_size=4))
def test_a_table_round_trips(
    tmp_path_factory: pytest.TempPathFactory, table: list[Mixture]
) -> None:
    path = tmp_path_factory.mktemp("table") / "mixtures.jsonl"
    write_mixtures(path, table)
    assert read_mixtures(path) == sorted(table, key=lambda m: m.id)


def test_a_line_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "mixtures.jsonl"
    write_mixtures(path, _plan(snrs_db=[0], noises={"rain": 20000}))
    record = json.loads(path.read_text().splitlines()[0])
    assert (record["id"], record["snr_db"], record["noise_gain"]) == ("u1_rain_0dB", 0.0, None)


def test_a_table_without_the_word_of_the_mean_is_as_it_was_written_before(tmp_path: Path) -> None:
    path = tmp_path / "mixtures.jsonl"
    write_mixtures(path, _plan(remove_mean=False))
    assert "remove_mean" not in path.read_text()
    assert not any(mixture.remove_mean for mixture in read_mixtures(path))


def _without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k != key}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda r: json.dumps(r)[:-5], "Invalid JSON"),
        (lambda r: "[1]", "object"),
        (lambda r: json.dumps(_without(r, "offset_samples")), "offset_samples: "),
        (lambda r: json.dumps({**r, "speed": 1}), "speed: "),
        (lambda r: json.dumps({**r, "samples": "10"}), "samples: .*integer"),
        (lambda r: json.dumps({**r, "samples": 10.5}), "samples: .*integer"),
        (lambda r: json.dumps({**r, "samples": 0}), "0 samples from"),
        (lambda r: json.dumps({**r, "offset_samples": -1}), "from sample -1"),
        (lambda r: json.dumps({**r, "noise_part": "trian"}), "noise_part: "),
        (lambda r: json.dumps({**r, "snr_over": "all"}), "snr_over: "),
        (lambda r: json.dumps({**r, "snr_db": math.nan}), "snr_db: .*finite"),
        (lambda r: json.dumps({**r, "id": "u1_rain_0dB"}), "u1_rain_0dB is in the table already"),
    ],
)
def test_a_damaged_line_is_named(
    tmp_path: Path, damage: Callable[[dict[str, Any]], str], reason: str
) -> None:
    path = tmp_path / "mixtures.jsonl"
    write_mixtures(path, _plan(snrs_db=[0], noises={"rain": 20000}))
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n\n{damage(json.loads(second))}\n")
    with pytest.raises(ValueError, match=rf"mixtures\.jsonl:3: .*{reason}"):
        read_mixtures(path)


@pytest.mark.corpus
@pytest.mark.parametrize("over", ["whole", "active"])
def test_real_speech_in_real_noise(real_data: Path, over: str) -> None:
    utterance = prepare_librispeech(real_data / "librispeech-sample")["test"][0]
    speech = read_utterance(utterance, sample_rate_hz=RATE_HZ).samples
    noise = read_noise(real_data / "noise" / "audio" / "rain.flac")
    plan = plan_mixtures(
        [(utterance.id, len(speech))],
        {"rain": len(noise)},
        part="test",
        snrs_db=[-5, 5],
        seed=0,
        snr_over=over,  # type: ignore[arg-type]
    )
    for mixture in plan:
        mixed = make_mixture(mixture, speech=speech, noise=noise)
        counted = _naive_active(mixed.speech, RATE_HZ) if over == "active" else None
        assert _measured_db(mixed, counted) == pytest.approx(mixture.snr_db, abs=0.01)
