"""Token lists in ESPnet's form: characters, sentencepiece pieces, words or phones."""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from squall.files import atomic_path, atomic_write
from squall.text.phones import PhoneSet, phone_classes

__all__ = [
    "BLANK",
    "NORMALIZATIONS",
    "PHONE_UNITS",
    "SENTENCE_END",
    "SPACE",
    "UNKNOWN",
    "build_tokens",
    "normalize_text",
    "own_marks",
    "piece_normalizer",
    "train_sentencepiece",
]

BLANK = "<blank>"
UNKNOWN = "<unk>"
SPACE = "<space>"
SENTENCE_END = "<sos/eos>"

PHONE_UNITS: dict[str, PhoneSet] = {"phone48": 48, "phone39": 39}
"""The units that are phones, and how many classes each has."""

NORMALIZATIONS = ("identity", "nfc", "nfkc")
"""The forms of Unicode that `normalize_text` knows; `identity` leaves a text as it is."""

_PIECE_SPACE = "\u2581"
_PIECE_MARKS = {_PIECE_SPACE, "\u2585", "\0"}  # space, unknown and end, as sentencepiece has them
_LONGEST_BYTES = 4192  # sentencepiece's default; it leaves out what is longer, and tells nobody


def normalize_text(text: str, form: str) -> str:
    """A text in a form of Unicode, its words with single spaces between.

    Args:
        text: a transcript.
        form: `identity`, `nfc` (accents composed with their letters) or `nfkc` (full-width digits,
            half-width kana, ligatures and fractions spelled plainly, too).

    >>> normalize_text("\uff11 ﬁve", "nfkc")
    '1 five'
    """
    if form != "identity":
        text = unicodedata.normalize(form.upper(), text)  # type: ignore[arg-type]
    return " ".join(text.split())


def own_marks(text: str, *, units: str) -> list[str]:
    """What of a transcript cannot be written in some units, which keep it for marks of their own.

    Args:
        text: the transcript.
        units: as `build_tokens` takes them.
    """
    if units == "bpe":
        return sorted(_PIECE_MARKS.intersection(text))
    return sorted({BLANK, SENTENCE_END}.intersection(text.split())) if units == "word" else []


def build_tokens(
    texts: Iterable[str], directory: Path, *, units: str, vocabulary_size: int
) -> list[str]:
    """Write `tokens.txt`, one token per line, and for `bpe` also `bpe.model`.

    Args:
        texts: the training transcripts.
        directory: where the files go.
        units: `char`, `bpe`, `word`, `phone48` or `phone39`.
        vocabulary_size: number of sentencepiece pieces, for `bpe`.

    Returns:
        The tokens in the order of their ids: `<blank>` first (CTC's blank is id 0), `<unk>`, the
        units in descending frequency, `<sos/eos>` last. Phones are in alphabetical order, and all
        are there whether or not they occur: models of different training sets have the same size.

    Raises:
        ValueError: `units` is unknown, there is no text, or there is too little text for the
            number of pieces.
    """
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError("no text to build tokens from: every training transcript is empty")
    if units == "char":
        found = _by_frequency(SPACE if char == " " else char for text in texts for char in text)
    elif units == "word":
        found = _by_frequency(word for text in texts for word in text.split())
    elif units == "bpe":
        found = train_sentencepiece(texts, directory / "bpe.model", vocabulary_size)
    elif units in PHONE_UNITS:
        found = list(phone_classes(PHONE_UNITS[units]))
    else:
        names = ", ".join(("char", "bpe", "word", *PHONE_UNITS))
        raise ValueError(f"tokens.units: {units!r} is not one of {names}")
    own = (BLANK, UNKNOWN, SENTENCE_END)  # a transcript may spell them; a list has each once
    tokens = [BLANK, UNKNOWN, *(token for token in found if token not in own), SENTENCE_END]
    with atomic_write(directory / "tokens.txt") as file:
        file.writelines(f"{token}\n" for token in tokens)
    return tokens


def train_sentencepiece(
    texts: Sequence[str], model: Path, vocabulary_size: int, *, verbatim: bool = False
) -> list[str]:
    """Train a unigram model (Kudo 2018) on one thread and return its pieces.

    The model takes texts as they are, however long: sentencepiece itself would rewrite them by NFKC
    and leave out those above 4,192 bytes.

    Args:
        texts: the training transcripts.
        model: where the model is written.
        vocabulary_size: number of pieces in the model, `<unk>`, `<s>` and `</s>` among them.
        verbatim: keep every space, so that the pieces of a text together spell it to the letter.
            Otherwise one is put before it, and those at its ends and beside others are left out.

    Returns:
        The pieces in the order of the model, without those three: ESPnet has its own.

    Raises:
        ValueError: the text cannot give that many pieces.
        ImportError: sentencepiece is not installed.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            f"tokens.units bpe needs sentencepiece ({error}): pip install 'squall[asr]'"
        ) from error

    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=written,
            model_type="unigram",
            vocab_size=vocabulary_size,
            normalization_rule_name="identity",
            add_dummy_prefix=not verbatim,
            remove_extra_whitespaces=not verbatim,
            max_sentence_length=max(_LONGEST_BYTES, *(len(text.encode()) for text in texts)),
            character_coverage=1.0,
            input_sentence_size=100_000_000,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"tokens.vocabulary_size: {vocabulary_size} pieces cannot be trained on "
            f"{len(texts)} transcripts: {error}"
        ) from error
    with atomic_path(model) as path:
        path.write_bytes(written.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [processor.id_to_piece(k) for k in range(processor.get_piece_size())]
    return [piece for piece in pieces if piece not in ("<unk>", "<s>", "</s>")]


def piece_normalizer(model: Path) -> Callable[[str], str]:
    """What a sentencepiece model makes of a text before it cuts it into pieces.

    A model that `train_sentencepiece` made leaves a text as it is. Those of squall's first versions
    rewrite it by sentencepiece's own rule (`nmt_nfkc`), their targets with it.
    """
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return lambda text: " ".join(processor.normalize(text).replace(_PIECE_SPACE, " ").split())


def _by_frequency(units: Iterable[str]) -> list[str]:
    counts = Counter(units)
    return sorted(counts, key=lambda unit: (-counts[unit], unit))
