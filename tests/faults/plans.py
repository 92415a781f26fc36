"""Which kills the campaign tries: every place with one and with two ranks, and random times."""

from __future__ import annotations

import random

from tests.faults.report import ANY_TIME, Kill

CACHE = ["bank file", "before manifest's file", "before manifest", "after manifest"]
CHECKPOINT = ["checkpoint", "checkpoint written", "last_checkpoint"]


def lives(rng: random.Random) -> list[tuple[str, int, list[Kill]]]:
    """Model, ranks and kills at places, in the order in which a run comes to them."""
    plans = []
    for model in ("classifier", "segmenter"):
        for ranks in (1, 2):
            preparing = ["building", *CACHE] if model == "classifier" else ["building", "bank file"]
            stepping = ["training", "validation", *CHECKPOINT]
            if ranks == 2:
                stepping = rng.sample(stepping, 4)
            kills = [_kill(place, model, ranks, rng) for place in preparing]
            if model == "segmenter" and ranks == 1:
                # the second file of an epoch is the best one, the third the first once more
                kills += [Kill("checkpoint", 2), Kill("checkpoint", 3)]
            kills += [_kill(place, model, ranks, rng) for place in stepping]
            plans.append((model, ranks, kills))
    return plans


def at_any_time(rng: random.Random, ranks: int) -> Kill:
    """A kill somewhere in the run, but not while it only imports."""
    return Kill(ANY_TIME, after=rng.uniform(0.35, 1.2), victim=rng.randrange(ranks))


def _kill(place: str, model: str, ranks: int, rng: random.Random) -> Kill:
    # rank 0 alone writes files; a bank is built, and steps are made, by all
    rank = rng.randrange(ranks) if place in ("building", "training", "validation") else 0
    # the first image is read nine times before the bank is built, of which each rank reads two
    # images or more; what validation reads after that is no building
    last = {"building": 11, "training": 3, "validation": 1, "checkpoint": 2}.get(place, 1)
    first = 10 if place == "building" and rank == 0 else 1
    return Kill(place, rng.randint(first, last), rank, rng.randrange(ranks))
