#!/usr/bin/env bash
# torchaudio 2.11.1 beside torch 2.11.0: it installs, and does not load.
#
# Expected: a patch release of torchaudio 2.11 goes with torch 2.11, whose number it has; or its
# metadata ask for the torch that it needs. ESPnet 202611 allows the pair (torch>=2.11, torchaudio
# <2.12), and so does pip, which takes 2.11.1.
# Seen: `pip check` is content; `import torchaudio` raises OSError, as libtorchaudio.so has an
# undefined symbol, torch_exception_get_what_without_backtrace. With torchaudio 2.11.0 it loads.
# squall: its bounds for Python 3.12 and later begin at torch 2.13; .ci/resolution runs the quick
# tests with the oldest versions that are allowed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
loads() { "$folder/venv/bin/python" -c 'import torchaudio; print(torchaudio.__version__)' 2>&1; }
install torch==2.11.0 torchaudio==2.11.1 numpy==2.3.5
"$folder/venv/bin/pip" check >/dev/null || {
    echo "changed: pip check complains of torch 2.11.0 and torchaudio 2.11.1"
    exit 1
}
if said=$(loads); then
    echo "changed: torchaudio 2.11.1 loads beside torch 2.11.0"
    exit 1
fi
grep -q "undefined symbol" <<<"$said" || {
    echo "changed: torchaudio 2.11.1 fails for another reason: $said"
    exit 1
}
install torchaudio==2.11.0
echo "torchaudio 2.11.1 beside torch 2.11.0: $(tail -n 1 <<<"$said" | sed 's/.*: undefined/undefined/')"
echo "torchaudio 2.11.0 beside torch 2.11.0: $(loads) loads"
