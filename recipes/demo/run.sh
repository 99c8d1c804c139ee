#!/usr/bin/env bash
# Synthetic speech, offline, minutes on two cores: a first look at all stages
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
# The corpus is spoken by eSpeak NG when stage 1 first runs, and kept in exp/demo/corpus.
#
# Settings: conf/demo/*.yaml. Results: exp/demo/report.html.
set -euo pipefail

exec squall run demo "$@"
