#!/usr/bin/env bash
# Synthetic speech, offline, minutes on two cores: a first look at all stages
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
# The corpus is spoken by eSpeak NG when stage 1 first runs, and kept in exp/demo/corpus. Without
# options the enhancement demo follows on the same corpus.
#
# Settings: conf/demo/*.yaml. Results: exp/demo/report.html, exp/enhance_demo/report.html.
set -euo pipefail

squall run demo "$@"
if [ $# -eq 0 ]; then
    squall run enhance_demo --corpus-dir "$SQUALL_ROOT/exp/demo/corpus"
fi
