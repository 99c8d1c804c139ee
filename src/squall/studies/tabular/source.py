"""What the source of the study claims, and the same counts here."""

from __future__ import annotations

from dataclasses import dataclass

from squall.scoring.metrics import declared
from squall.studies.tabular.scores import StudyScores, leads

__all__ = ["SOURCE_SETS", "Claim", "claims_of_source"]

SOURCE_SETS = 121


@dataclass(frozen=True)
class Claim:
    """A count of the source, and the same here.

    Args:
        text: what is counted.
        source: on how many of the source's 121 sets.
        here: on how many sets here, not counting ties.
        ties: on how many more it is as good as another.
        sets: of how many.
    """

    text: str
    source: int
    here: int
    ties: int
    sets: int


def claims_of_source(scores: StudyScores) -> list[Claim]:
    """The counts that the source gives; none where a loss of its three is absent."""
    if not {"ce", "squentropy", "rescaled_square"} <= set(scores.losses):
        return []
    claims = []
    for metric, best, than_ce in (("accuracy", 71, 94), ("ece", 60, 83)):
        for text, source, others in (
            ("best of the three", best, ("ce", "rescaled_square")),
            ("better than ce", than_ce, ("ce",)),
        ):
            ahead = leads(scores, metric, "squentropy", others)
            claims.append(
                Claim(
                    f"squentropy {text} in {declared(metric).title}",
                    source,
                    int((ahead > 0).sum()),
                    int((ahead == 0).sum()),
                    len(scores.sets),
                )
            )
    return claims
