"""Kills of the campaign: at every place with one and with two ranks, and at random times.

About a third of them hits runs whose teachers learn.
"""

from __future__ import annotations

import random

from tests.runs.faults.report import ANY_TIME, Kill

CACHE = ["bank file", "before manifest's file", "before manifest", "after manifest"]
CHECKPOINT = ["checkpoint", "checkpoint written", "last_checkpoint"]
OF_ALL_RANKS = ("building", "training", "validation", "peer learns", "queue is fed")
"""Places of all ranks; only rank 0 writes files."""
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
"""Number of kills at random times, by model and ranks."""


def kills_at_places(rng: random.Random) -> list[tuple[str, int, list[Kill]]]:
    """Return model, ranks and kills at places, in the order in which a run reaches them."""
    return [*_frozen_runs(rng), *_learning_runs(rng)]


def at_any_time(rng: random.Random, ranks: int) -> Kill:
    """Return a kill at a random time of the run, after its imports."""
    return Kill(ANY_TIME, after=rng.uniform(0.35, 1.2), victim=rng.randrange(ranks))


def _frozen_runs(rng: random.Random) -> list[tuple[str, int, list[Kill]]]:
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


def _learning_runs(rng: random.Random) -> list[tuple[str, int, list[Kill]]]:
    """Return runs whose teachers are saved in the checkpoint; no bank is written."""
    stepping = ["training", "queue is fed", "validation", *CHECKPOINT]
    places = {
        ("classifier's peers", 1): ["peer learns", *stepping],
        ("segmenter's peer", 2): ["peer learns", *rng.sample(stepping, 3)],
        ("classifier's average", 2): ["queue is fed", *rng.sample(CHECKPOINT, 2)],
        ("segmenter's last epoch", 1): ["training", "queue is fed", *rng.sample(CHECKPOINT, 2)],
    }
    return [
        (model, ranks, [_kill(place, model, ranks, rng) for place in names])
        for (model, ranks), names in places.items()
    ]


def _kill(place: str, model: str, ranks: int, rng: random.Random) -> Kill:
    rank = rng.randrange(ranks) if place in OF_ALL_RANKS else 0
    # the first image is read nine times before the bank is built, of which each rank reads at
    # least two images; validation reads later
    last = {
        "building": 11, "training": 3, "validation": 1, "checkpoint": 2,
        # one or two peers, and one queue or more, in each step
        "peer learns": 4, "queue is fed": 6,
    }.get(place, 1)  # fmt: skip
    first = 10 if place == "building" and rank == 0 else 1
    return Kill(place, rng.randint(first, last), rank, rng.randrange(ranks))
