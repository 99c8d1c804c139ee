#!/usr/bin/env bash
# libsndfile 1.2.2 (soundfile 0.13.1): a SPHERE header's fields are found by parts of their names.
#
# Expected: the sampling rate of a NIST SPHERE file is its field `sample_rate`.
# Seen: libsndfile looks for the text "sample_rate -i " anywhere in the header. A field of another
# name that ends so and comes first, such as `orig_sample_rate` (SPHERE allows fields of any name),
# replaces it: 8 kHz speech is read as 16 kHz, at double speed. So do `orig_channel_count` (half of
# the samples, as two channels) and `orig_sample_byte_format` (noise). No error, no warning.
# squall: reads the header itself and shows libsndfile one that has the needed fields alone
# (squall/audio/containers.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.13.1 numpy==2.2.6
cat > "$folder/sphere.py" <<'PYTHON'
import io

import numpy
import soundfile

print("libsndfile", soundfile.__libsndfile_version__)
file = io.BytesIO()
samples = (8000 * numpy.sin(numpy.arange(8000) / 20)).astype("int16")
soundfile.write(file, samples, 8000, format="NIST", subtype="PCM_16", endian="LITTLE")
data = file.getvalue()
first_line_ends, header_bytes = 16, 1024
found = {}
for field in ("orig_sample_rate -i 16000", "orig_channel_count -i 2"):
    head = data[:first_line_ends] + field.encode() + b"\n" + data[first_line_ends:]
    changed = io.BytesIO(head[:header_bytes] + data[header_bytes:])
    with soundfile.SoundFile(changed) as opened:
        found[field] = (opened.samplerate, opened.channels, opened.frames)
        print(f"with {field!r}: {opened.samplerate} Hz, {opened.channels} channels")
raise SystemExit(list(found.values()) != [(16000, 1, 8000), (8000, 2, 4000)])
PYTHON
if "$folder/venv/bin/python" "$folder/sphere.py"; then
    exit 0
fi
echo "libsndfile behaves otherwise now" >&2
exit 1
