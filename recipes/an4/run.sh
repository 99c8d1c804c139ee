#!/usr/bin/env bash
# CMU AN4 (0.8 h of real recordings): ce, squentropy and square from one config and one seed
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
#
#   ./run.sh an4 --corpus-dir DIR                    all stages, all three losses
#   ./run.sh an4 --download                          fetch the corpus first
#   ./run.sh an4 --corpus-dir DIR --stage 6 --set loss.name=square --set decode.posterior=softmax
#
# Settings: conf/an4/*.yaml. Results: exp/an4/report.html, recipes/an4/RESULTS.md.
set -euo pipefail

exec squall run an4 "$@"
