#!/usr/bin/env bash
# TIMIT (LDC93S1, or the free sample that NLTK has): phones, one config, several losses
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
#
#   ./run.sh timit --corpus-dir DIR                      LDC93S1: the model of the papers
#   ./run.sh timit --preset sample                       NLTK's sample under SQUALL_DATA, four folds
#   ./run.sh timit --preset sample --corpus-dir DIR      the same, elsewhere
#   ./run.sh timit --preset sample --set loss.name=squentropy --set corpus.options.fold=0
#
# Settings: conf/timit/*.yaml. Results: exp/timit/report.html, recipes/timit/RESULTS.md.
set -euo pipefail

exec squall run timit "$@"
