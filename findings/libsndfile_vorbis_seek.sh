#!/usr/bin/env bash
# libsndfile 1.2.2 (soundfile 0.13.1): seeking in the last page of an Ogg Vorbis file goes astray.
#
# Expected: after `seek(n)` the next sample read is sample n, as in every other format.
# Seen: for n in the last page, which holds the last second or two of speech at 16 kHz, the samples
# are those of a place up to some 500 samples later. It happens with about a third of all files,
# depending on their length, and to most places in their last page. `tell()` says n; nothing is
# logged. Places before the last page are exact.
# squall: seeks to a minute before the place and decodes from there (squall/audio/reading.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.13.1 numpy==2.2.6
cat > "$folder/seek.py" <<'PYTHON'
import io

import numpy
import soundfile

print("libsndfile", soundfile.__libsndfile_version__)
noise = numpy.random.default_rng(0).uniform(-0.5, 0.5, 40000).astype("float32")
file = io.BytesIO()
soundfile.write(file, noise, 16000, format="OGG", subtype="VORBIS")
file.seek(0)
whole = soundfile.read(file, dtype="float32")[0]
wrong = {}
for place in range(0, 39800, 200):
    file.seek(0)
    with soundfile.SoundFile(file) as opened:
        opened.seek(place)
        assert opened.tell() == place
        part = opened.read(100, dtype="float32")
    if not numpy.allclose(part, whole[place : place + 100], atol=1e-6):
        part = part[:20]
        starts = range(place, min(place + 600, len(whole) - len(part)))
        late = [n - place for n in starts if numpy.allclose(whole[n : n + len(part)], part, atol=1e-6)]
        wrong[place] = late[0] if late else None
print(f"{len(wrong)} of 199 places are wrong, from sample {min(wrong, default=None)} of 40000 on;")
print(f"late by samples: {sorted({late for late in wrong.values() if late})}")
raise SystemExit(not wrong or min(wrong) < 24000)
PYTHON
if "$folder/venv/bin/python" "$folder/seek.py"; then
    exit 0
fi
echo "libsndfile behaves otherwise now" >&2
exit 1
