#!/usr/bin/env bash
# sentencepiece 0.2.1: a tab never gets a piece, whatever it is told, and nothing says so.
#
# Expected: with the identity as normalisation, a coverage of 1 and white space kept, every character of
# the training text is a piece or part of one.
# Seen: tabs, in half of the lines, are left out of the vocabulary without a warning; in any text they
# are the unknown piece, and decoding gives another character back.
# squall: squall.studies.charlm counts characters that no piece stands for, tells how many there are and
# scores them as a class of their own.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sentencepiece==0.2.1
cat > "$folder/tabs.py" <<'PYTHON'
import io
import sys

import sentencepiece

lines = ["a\tb c\td e"] * 50 + ["plain words here"] * 50
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines),
    model_writer=model,
    vocab_size=40,
    model_type="unigram",
    normalization_rule_name="identity",
    character_coverage=1.0,
    hard_vocab_limit=False,
    remove_extra_whitespaces=False,
)
pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
known = [pieces.id_to_piece(number) for number in range(pieces.get_piece_size())]
ids = pieces.encode("a\tb")
print(sum("\t" in piece for piece in known), "pieces with a tab;", ids, repr(pieces.decode(ids)))
sys.exit(any("\t" in piece for piece in known) or pieces.unk_id() not in ids)
PYTHON
"$folder/venv/bin/python" "$folder/tabs.py" 2> "$folder/told" || {
    echo "changed: tabs have a piece" >&2
    exit 1
}
! grep -i -E 'warn.*tab|tab.*(skip|ignor|remov)' "$folder/told" || {
    echo "changed: it tells that tabs are left out" >&2
    exit 1
}
