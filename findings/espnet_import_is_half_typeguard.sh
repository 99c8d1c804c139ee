#!/usr/bin/env bash
# ESPnet 202611: half of the time that its recognition task takes to import goes to typeguard.
#
# Expected: `@typechecked` costs when a function is called, and next to nothing on import.
# Seen: typeguard parses the source of every decorated function again when it is defined. Of the
# seconds that `import espnet2.tasks.asr` takes after torch (4.7 on one machine), half remain with a
# decorator that does nothing (2.4).
# squall: squall.asr.bridge.espnet imports ESPnet with such a decorator; `squall transcribe` needs
# half the time for its first word.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$(command -v python3.13 || command -v python3.12 || command -v python3)
"$python" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))' || {
    echo "needs Python 3.12 or 3.13"
    exit 2
}
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    espnet==202611 torch==2.14.1 torchaudio==2.11.1 typeguard==4.6.1 numpy==2.3.5
cat > "$folder/import.py" <<'PYTHON'
import sys
import time

import torch
import typeguard


def unchecked(target=None, **_):
    return unchecked if target is None else target


if sys.argv[1] == "unchecked":
    typeguard.typechecked = unchecked
started = time.perf_counter()
import espnet2.tasks.asr

print(time.perf_counter() - started)
PYTHON
seconds() { "$folder/venv/bin/python" "$folder/import.py" "$1" 2>/dev/null | tail -n 1; }
seconds checked >/dev/null # writes byte code
for way in checked unchecked; do
    for _ in 1 2 3; do seconds "$way"; done | sort -n | sed -n 2p > "$folder/$way"
done
awk 'NR == FNR { checked = $1; next }
     { printf "import espnet2.tasks.asr: %.1f s, without typeguard %.1f s (%.2f)\n", checked, $1, $1 / checked
       exit !($1 / checked < 0.75) }' "$folder/checked" "$folder/unchecked" || {
    echo "changed: typeguard takes less than a quarter of the import"
    exit 1
}
