"""The command line: `squall run`, `transcribe`, `classify`, `enhance`, `score`, `report`, ..."""

from __future__ import annotations

import argparse
import codecs
import locale
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squall import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, call one function, turn errors into one message and an exit code.

    Returns:
        0 when all went well, 1 when something failed, 2 for a wrong command line.
    """
    if argv is None:
        _be_utf8()
        _open_closed_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    options.command_line = os.environ.get("SQUALL_COMMAND") or shlex.join(["squall", *arguments])
    try:
        code = int(options.function(options))
        sys.stdout.flush()  # here an error of it has a message
        return code
    except KeyboardInterrupt:
        then = "; run the same command again to go on" if "recipe" in options else ""
        print(f"stopped{then}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"squall: {_told(error)}", file=sys.stderr)
        return 1


def _told(error: BaseException) -> str:
    """An error in words; the system's own have the file in front."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def _be_utf8() -> None:
    """Begin anew in Python's UTF-8 mode where the locale is of another encoding.

    In such a locale some paths cannot be written into a file, and some texts not to the terminal.
    """
    encoding = codecs.lookup(locale.getpreferredencoding(False)).name
    if encoding != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _open_closed_streams() -> None:
    """Let /dev/null take the place of standard streams that are closed, before a file does."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - open to the end
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="squall", description="square losses for speech")
    parser.add_argument("--version", action="version", version=f"squall {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_run(verbs)
    _add_transcribe(verbs)
    _add_classify(verbs)
    _add_enhance(verbs)
    _add_score(verbs)
    _add_score_speech(verbs)
    _add_report(verbs)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _stage(text: str) -> int:
    if not text.isdecimal() or int(text) > 8:
        raise argparse.ArgumentTypeError(f"{text!r} is no stage: they are numbered from 0 to 8")
    return int(text)


def _file(text: str) -> Path:
    if text == "-":
        raise argparse.ArgumentTypeError("standard input is not read here, give a file")
    return Path(text)


def _add_baseline(verb: Any) -> None:
    verb.add_argument(
        "--baseline",
        metavar="SYSTEM",
        help="what the others are compared with, e.g. ce (default: the first one)",
    )


def _add_run(verbs: Any) -> None:
    from squall.engine.tasks import TASKS

    stages = "; ".join(
        f"{name}: " + " · ".join(f"{n} {stage}" for n, stage in task.stage_names.items())
        for name, task in TASKS.items()
    )
    verb = verbs.add_parser(
        "run",
        help="run the stages of a recipe",
        description=f"Run the stages of a recipe ({stages}). Without options everything runs; "
        "what is done and unchanged is skipped.",
    )
    verb.add_argument("recipe", help="folder under conf/ and recipes/")
    verb.add_argument(
        "--corpus-dir",
        nargs="+",
        metavar="DIR",
        help="where the corpus lies; several folders where it lies in several (wsj, own)",
    )
    verb.add_argument("--noise-dir", help="folder of noise recordings (enhancement)")
    verb.add_argument("--download", action="store_true", help="fetch what is absent of the corpus")
    verb.add_argument(
        "--subset", help="a smaller part, e.g. mini (same as --set corpus.options.subset=NAME)"
    )
    verb.add_argument(
        "--experiment",
        "--preset",
        help="YAML file under conf/RECIPE, e.g. rnn (default: the first by name that is no variant "
        "of another; for a corpus that is small, the one made for it)",
    )
    verb.add_argument("--stage", type=_stage, default=0, metavar="N", help="first stage")
    verb.add_argument("--stop-stage", type=_stage, default=8, metavar="M", help="last stage")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting")
    verb.add_argument("--grid", nargs="+", metavar="KEY=A,B", help="run every combination")
    verb.add_argument("--seed", type=int, help="same as --set seed=N")
    _add_baseline(verb)
    verb.add_argument(
        "--cluster",
        nargs="+",
        metavar=("slurm", "KEY=VALUE"),
        help="send every experiment to Slurm; the values go to submitit, e.g. timeout_min=480 "
        "slurm_partition=gpu gpus_per_node=1",
    )
    verb.add_argument("--force", action="store_true", help="run even what is done")
    verb.add_argument("--dry-run", action="store_true", help="only say what would run, and why")
    verb.add_argument("--skip-bad", action="store_true", help="leave out unsound utterances")
    verb.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cpu, or cuda where --gpus is given"
    )
    verb.add_argument(
        "--gpus",
        type=_positive,
        metavar="N",
        help="GPUs of each machine that train one recogniser together (default: 1 with cuda)",
    )
    verb.add_argument(
        "--nodes",
        type=_positive,
        metavar="M",
        help="machines that train together, on each of which torchrun starts this command",
    )
    verb.add_argument(
        "--jobs",
        type=_positive,
        help="experiments at a time, or processes in one (default: one per core)",
    )
    verb.add_argument("--threads", type=_positive, default=1, help="CPU threads of one experiment")
    verb.add_argument(
        "--workers",
        type=_positive,
        help="processes of a stage that experiments share (default: one per core)",
    )
    verb.add_argument(
        "--exp-dir", help="where experiments are kept (default: exp/ in the checkout)"
    )
    verb.add_argument(
        "--results-dir",
        help="folder of results.json and RESULTS.md (default: the config's results_dir)",
    )
    verb.set_defaults(function=_run)


def _run(options: argparse.Namespace) -> int:
    from squall.cli.run import run_recipe

    return run_recipe(options)


def _add_transcribe(verbs: Any) -> None:
    verb = verbs.add_parser(
        "transcribe",
        help="recognise audio files of any length with a trained model",
        description="Recognise audio files. One that is longer than the longest segment is cut at "
        "pauses, in memory that does not grow with its length.",
    )
    verb.add_argument(
        "audio",
        nargs="+",
        type=Path,
        help="files, or folders, which are searched with all that is in them; - is standard input",
    )
    verb.add_argument("--model", required=True, type=Path, metavar="EXP_DIR")
    verb.add_argument(
        "--format",
        choices=("text", "json", "srt", "vtt", "ctm"),
        default="text",
        help="text: a line for each segment; json: an object for each file, on a line; srt, vtt: "
        "captions; ctm: a line for each word (default: text)",
    )
    verb.add_argument(
        "-o",
        "--output",
        help="write here instead of the terminal: a file; or a folder, with a file for each input, "
        "which is made where the name ends with /, and for srt, vtt and ctm of several or of "
        "a folder",
    )
    verb.add_argument(
        "--vad",
        choices=("silero", "energy", "none"),
        help="what finds the pauses; none leaves files whole (default: silero where it is "
        "installed, else energy)",
    )
    verb.add_argument(
        "--segment-s",
        nargs=2,
        type=float,
        default=(2.0, 20.0),
        metavar=("SHORTEST", "LONGEST"),
        help="seconds that a segment may have (default: 2 20)",
    )
    verb.add_argument(
        "--pause-s",
        type=float,
        default=0.5,
        metavar="S",
        help="seconds of a pause that may end a segment (default: 0.5)",
    )
    verb.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    verb.add_argument("--threads", type=_positive, default=os.cpu_count() or 1)
    verb.set_defaults(function=_transcribe)


def _transcribe(options: argparse.Namespace) -> int:
    from squall.cli.transcribe import transcribe_files

    return transcribe_files(options)


def _add_classify(verbs: Any) -> None:
    verb = verbs.add_parser(
        "classify",
        help="label texts with a trained classifier",
        description="Label each line of a file, a text or two texts separated by a tab, with a "
        "model of the recipe text.",
    )
    verb.add_argument("file", type=Path, help="UTF-8 text; - is standard input")
    verb.add_argument("--model", type=Path, required=True, metavar="EXP_DIR",
                      help="folder of a trained experiment, exp/text/...")  # fmt: skip
    verb.add_argument("--format", choices=["tsv", "json"], default="tsv",
                      help="tsv: label and confidence; json: an object a line with the "
                      "probabilities of all labels")  # fmt: skip
    verb.add_argument("-o", "--output", type=_file, metavar="FILE", help="instead of the terminal")
    verb.add_argument("--calibrated", action="store_true",
                      help="probabilities at the temperature fitted on dev")  # fmt: skip
    verb.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    verb.set_defaults(function=_classify)


def _classify(options: argparse.Namespace) -> int:
    from squall.cli.classify import classify_file

    return classify_file(options)


def _add_enhance(verbs: Any) -> None:
    verb = verbs.add_parser(
        "enhance",
        help="remove noise from audio files with a trained model",
        description="Remove noise from audio files. Sampling rate, channels and length stay as "
        "they are; the model works at 16 kHz, and what is above 8 kHz passes a gate.",
    )
    verb.add_argument("audio", nargs="*", type=_file, help="noisy files or folders")
    verb.add_argument("--model", required=True, type=Path, metavar="EXP_DIR")
    verb.add_argument(
        "-o",
        "--output",
        type=Path,
        help="folder; for a single file also the enhanced file itself",
    )
    verb.add_argument(
        "--stream",
        type=_positive,
        metavar="HZ",
        help="enhance raw 16-bit mono samples at this rate from standard input to standard output, "
        "as they come",
    )
    verb.add_argument(
        "--condition",
        help="which model, e.g. babble/0dB (default: `all`, or the only one), or `auto`: the one "
        "that was trained on noise most like a file's",
    )
    verb.add_argument("--threads", type=_positive, default=os.cpu_count() or 1)
    verb.set_defaults(function=_enhance)


def _enhance(options: argparse.Namespace) -> int:
    from squall.cli.enhance import enhance_files, enhance_stream

    if options.stream:
        if options.audio or options.output:
            raise ValueError("--stream reads standard input and writes standard output: no files")
        return enhance_stream(options)
    if not options.audio or not options.output:
        raise ValueError("give noisy files or folders, and with -o where the results go")
    return enhance_files(options)


def _add_score(verbs: Any) -> None:
    verb = verbs.add_parser(
        "score",
        help="error rates of two files with lines `id words...` or, as trn, `words... (id)`",
    )
    verb.add_argument("--reference", required=True, type=_file)
    verb.add_argument("--hypothesis", required=True, type=_file)
    verb.add_argument("--alignments", action="store_true", help="print the alignments too")
    verb.add_argument("--csv", type=Path, help="write one row per utterance")
    verb.set_defaults(function=_score)


def _score(options: argparse.Namespace) -> int:
    from squall.cli.score import score_files

    return score_files(options)


def _add_score_speech(verbs: Any) -> None:
    verb = verbs.add_parser(
        "score-speech", help="STOI, PESQ, SI-SDR, DNSMOS and others of enhanced speech"
    )
    verb.add_argument(
        "--estimate",
        required=True,
        nargs="+",
        type=_file,
        help="enhanced file or folder; several are compared with the first",
    )
    verb.add_argument(
        "--reference", type=_file, help="clean file or folder; without it: scores that need none"
    )
    verb.add_argument(
        "--scores",
        metavar="NAME,...",
        help="which scores, or all (default: stoi,pesq_nb,pesq_wb,si_sdr; without a reference "
        "DNSMOS); an unknown name lists them",
    )
    verb.add_argument("--csv", type=Path, help="write one row per file here, not to the terminal")
    verb.add_argument("--html", type=Path, help="write a page with all tables")
    verb.add_argument(
        "--recogniser",
        metavar="EXP_DIR",
        help="count the word errors of this recogniser, or of `whisper`, an off-the-shelf one",
    )
    verb.add_argument("--text", type=_file, help="what is said: lines `id words`, or trn")
    verb.add_argument("--words", type=Path, help="write what the recogniser understood here")
    verb.add_argument("--jobs", type=_positive, help="processes (default: one per core)")
    verb.add_argument(
        "--no-align",
        dest="align",
        action="store_false",
        help="score files as they are (default: a delay of up to 20 ms is taken out, and told)",
    )
    verb.set_defaults(function=_score_speech)


def _score_speech(options: argparse.Namespace) -> int:
    from squall.cli.score_speech import score_speech_files

    return score_speech_files(options)


def _add_report(verbs: Any) -> None:
    verb = verbs.add_parser("report", help="one HTML page and one table from experiments")
    verb.add_argument("experiments", nargs="+", type=Path, metavar="EXP_DIR")
    verb.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    _add_baseline(verb)
    verb.set_defaults(function=_report)


def _report(options: argparse.Namespace) -> int:
    from squall.cli.run import report_experiments

    return report_experiments(options)
