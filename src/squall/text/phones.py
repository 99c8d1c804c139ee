"""TIMIT's 61 phones and the 48 and 39 classes that they are folded to.

Lee and Hon, *Speaker-independent phone recognition using hidden Markov models*, IEEE Transactions
on Acoustics, Speech and Signal Processing 37(11), 1989.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

__all__ = ["PHONES", "PhoneSet", "fold_phones", "phone_classes"]

PhoneSet = Literal[39, 48]
"""The number of classes: 48 to train on, 39 to score on."""

# A line is one of the 48 classes: its name, the one of the 39 that it belongs to, TIMIT's labels.
_TABLE = """
aa   aa    aa
ae   ae    ae
ah   ah    ah
ao   aa    ao
aw   aw    aw
ax   ah    ax ax-h
ay   ay    ay
b    b     b
ch   ch    ch
cl   sil   pcl tcl kcl
d    d     d
dh   dh    dh
dx   dx    dx
eh   eh    eh
el   l     el
en   n     en
epi  sil   epi
er   er    er axr
ey   ey    ey
f    f     f
g    g     g
hh   hh    hh hv
ih   ih    ih
ix   ih    ix
iy   iy    iy
jh   jh    jh
k    k     k
l    l     l
m    m     m em
n    n     n nx
ng   ng    ng eng
ow   ow    ow
oy   oy    oy
p    p     p
r    r     r
s    s     s
sh   sh    sh
sil  sil   h# pau
t    t     t
th   th    th
uh   uh    uh
uw   uw    uw ux
v    v     v
vcl  sil   bcl dcl gcl
w    w     w
y    y     y
z    z     z
zh   sh    zh
"""

_DELETED = "q"
_ROWS = tuple(tuple(line.split()) for line in _TABLE.split("\n") if line)
_CLASS_OF: dict[PhoneSet, dict[str, str]] = {
    48: {name: row[0] for row in _ROWS for name in (row[0], *row[2:])},
    39: {name: row[1] for row in _ROWS for name in (row[0], *row[2:])},
}

PHONES: tuple[str, ...] = tuple(sorted([*(label for row in _ROWS for label in row[2:]), _DELETED]))
"""The 61 labels of TIMIT's `.PHN` files (`phoncode.doc`)."""


def phone_classes(classes: PhoneSet) -> tuple[str, ...]:
    """The names of the 39 or 48 classes, in alphabetical order.

    Raises:
        ValueError: it is another number.
    """
    return tuple(sorted(set(_map(classes).values())))


def fold_phones(labels: Iterable[str], *, classes: PhoneSet) -> list[str]:
    """Fold a sequence of phones.

    Args:
        labels: TIMIT's labels, names of the 48 classes or names of the 39, which may be mixed: a
            name that occurs in two of the three sets folds to the same class from each.
        classes: 39 or 48.

    Returns:
        One class for each label, without the glottal stops `q`; it may be empty.

    Raises:
        ValueError: a label is none of TIMIT's, or `classes` is another number.

    Convention: as in Kaldi's map of 60 to 48 to 39 phones, `q` is deleted and what stood beside it
    stays as it was; the closures of `b d g` and of `p t k` are `vcl` and `cl` among the 48, and all
    closures, pauses and epenthetic silences are `sil` among the 39; `sil` is a phone like any other
    and counts in the error rate; two equal classes in a row stay two. SpeechBrain makes one `sil`
    of several in a row, and some leave silence out of the score, which both give other rates; some
    fold `q` into `sil`.

    Example:
        >>> fold_phones("h# hv ix q ao dcl d h#".split(), classes=48)
        ['sil', 'hh', 'ix', 'ao', 'vcl', 'd', 'sil']
        >>> fold_phones("sil hh ix ao vcl d sil".split(), classes=39)
        ['sil', 'hh', 'ih', 'aa', 'sil', 'd', 'sil']
    """
    class_of = _map(classes)
    folded = []
    for label in labels:
        if label == _DELETED:
            continue
        if label not in class_of:
            raise ValueError(
                f"{label!r} is not a phone of TIMIT; the labels are {', '.join(PHONES)}"
            )
        folded.append(class_of[label])
    return folded


def _map(classes: PhoneSet) -> dict[str, str]:
    if classes not in _CLASS_OF:
        raise ValueError(f"classes is {classes!r}: phones are folded to 48 or to 39 classes")
    return _CLASS_OF[classes]
