"""What teachers that learn leave in a checkpoint, and take up when a run is resumed."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log

from mmickd.utils.errors import ICKDError

CHECKPOINT_KEY = "mmickd"
"""Key of a checkpoint beside ``state_dict``; stock tools do not look at it."""


def restore(distiller: Any, state: dict[str, Any] | None, resume: str) -> None:
    """Go on where a run was stopped.

    Args:
        distiller: newly prepared.
        state: what the ``state_dict`` of then gave; None if the checkpoint holds nothing of ours.
        resume: 'strict', or 'fresh' to begin anew where ``state`` is of no such teacher.

    Raises:
        ICKDError: if the checkpoint holds nothing, or something of another teacher.
    """
    if not distiller.learns:
        return
    if state is not None and distiller.learnt_key in state:
        distiller.load_state_dict(state)
    elif resume == "fresh":
        print_log("The resumed checkpoint holds no such teacher: it begins anew", logger="current")
    else:
        raise ICKDError(
            "the resumed checkpoint holds no such teacher of this hook: it was trained without, or "
            "with one of another kind. Resume with that config, or set teacher.resume='fresh' to "
            "begin anew."
        )
