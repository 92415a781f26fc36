"""Which kills the campaign tries: every place with one and with two ranks, and random times.

About a third of them meets runs whose teachers learn.
"""

from __future__ import annotations

import random

from tests.runs.faults.report import ANY_TIME, Kill

CACHE = ["bank file", "before manifest's file", "before manifest", "after manifest"]
CHECKPOINT = ["checkpoint", "checkpoint written", "last_checkpoint"]
OF_ALL_RANKS = ("building", "training", "validation", "peer learns", "queue is fed")
"""Rank 0 alone writes files; a bank is built, and steps are made, by all."""
AT_ANY_TIME = {
    ("classifier", 1): 3,
    ("segmenter", 1): 2,
    ("classifier", 2): 1,
    ("segmenter", 2): 1,
    ("classifier's peers", 1): 2,
    ("segmenter's peer", 2): 2,
    ("classifier's average", 2): 1,
    ("segmenter's last epoch", 1): 1,
}
"""How many kills at random times, by model and ranks."""


def lives(rng: random.Random) -> list[tuple[str, int, list[Kill]]]:
    """Model, ranks and kills at places, in the order in which a run comes to them."""
    return [*_frozen_lives(rng), *_learning_lives(rng)]


def at_any_time(rng: random.Random, ranks: int) -> Kill:
    """A kill somewhere in the run, but not while it only imports."""
    return Kill(ANY_TIME, after=rng.uniform(0.35, 1.2), victim=rng.randrange(ranks))


def _frozen_lives(rng: random.Random) -> list[tuple[str, int, list[Kill]]]:
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


def _learning_lives(rng: random.Random) -> list[tuple[str, int, list[Kill]]]:
    """Nothing is prepared on the disk here: what these teachers learn is in the checkpoint."""
    stepping = ["training", "queue is fed", "validation", *CHECKPOINT]
    places = {
        ("classifier's peers", 1): ["peer learns", *stepping],
        ("segmenter's peer", 2): ["peer learns", *rng.sample(stepping, 3)],
        ("classifier's average", 2): ["queue is fed", *rng.sample(CHECKPOINT, 2)],
        ("segmenter's last epoch", 1): ["training", "queue is fed", *rng.sample(CHECKPOINT, 2)],
    }
    return [
        (model, ranks, [_kill(place, model, ranks, rng) for place in own])
        for (model, ranks), own in places.items()
    ]


def _kill(place: str, model: str, ranks: int, rng: random.Random) -> Kill:
    rank = rng.randrange(ranks) if place in OF_ALL_RANKS else 0
    # the first image is read nine times before the bank is built, of which each rank reads two
    # images or more; what validation reads after that is no building
    last = {
        "building": 11, "training": 3, "validation": 1, "checkpoint": 2,
        # one or two peers, and one queue or more, in each step
        "peer learns": 4, "queue is fed": 6,
    }.get(place, 1)  # fmt: skip
    first = 10 if place == "building" and rank == 0 else 1
    return Kill(place, rng.randint(first, last), rank, rng.randrange(ranks))
