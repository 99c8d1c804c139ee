#!/usr/bin/env bash
# torch 2.14.1: a checkpoint with a flipped bit loads without a word, with other weights.
#
# Expected: `torch.save` writes a zip archive, whose records carry CRC-32 sums that are right
# (`zipfile.testzip` finds them so); a reader of archives compares them, so that a file that decayed on
# the disk or was copied badly does not load.
# Seen: `torch.load`, weights_only or not, mapped or not, gives the tensor with the flipped bit.
# `zipfile.testzip` on the same file names the record.
# squall: `squall.networks.tensors` compares the sums before it loads; the stages of a recipe keep digests
# of what they wrote.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.2.6
cat > "$folder/flip.py" <<'PYTHON'
import sys
import zipfile

import torch

path = sys.argv[1]
weights = torch.arange(1000.0)
torch.save({"weights": weights}, path)
with zipfile.ZipFile(path) as archive:
    whole = archive.testzip()
content = bytearray(open(path, "rb").read())
start = content.find(weights.numpy().tobytes())
content[start + 400] ^= 0x40
open(path, "wb").write(content)
with zipfile.ZipFile(path) as archive:
    named = archive.testzip()
changed = []
for options in ({"weights_only": True}, {"weights_only": False}, {"mmap": True}):
    try:
        found = torch.load(path, **options)["weights"]
        changed.append(int((found != weights).sum()))
    except Exception as error:
        changed.append(f"{type(error).__name__}")
print(f"sums before: {whole or 'all right'}; after: {named} differs; weights changed: {changed}")
sys.exit(not (whole is None and named and changed == [1, 1, 1]))
PYTHON
"$folder/venv/bin/python" "$folder/flip.py" "$folder/weights.pt" || {
    echo "changed: torch.load does not take the flipped bit" >&2
    exit 1
}
