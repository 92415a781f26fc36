"""What a teacher that learns leaves in a checkpoint, and takes up when a run is resumed."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log

from mmickd.banks.queue_bank import QueueBank
from mmickd.distiller import Distiller
from mmickd.utils.errors import ICKDError

CHECKPOINT_KEY = "mmickd"
"""Key of a checkpoint beside ``state_dict``; stock tools do not look at it."""


def state_of(distiller: Distiller) -> dict[str, Any]:
    """Tensors and plain values: the teacher, and its queues by level."""
    banks = {
        level: {name: rows.cpu() for name, rows in bank.state_dict().items()}
        for level, bank in distiller.banks.items()
        if isinstance(bank, QueueBank)
    }
    return {"teacher": distiller.teacher.state_dict(), "banks": banks}


def restore(distiller: Distiller, state: dict[str, Any] | None) -> None:
    """Go on where a run was stopped.

    Args:
        distiller: newly prepared.
        state: what :func:`state_of` gave then; None if the checkpoint holds nothing of ours.

    Raises:
        ICKDError: if the checkpoint holds nothing, or something of another teacher, and
            ``teacher.resume`` is 'strict'.
    """
    teacher = distiller.teacher
    if teacher.is_frozen:
        return
    if state is None:
        if teacher.resume == "fresh":
            print_log("The resumed checkpoint holds no teacher: it begins anew", logger="current")
            return
        raise ICKDError(
            "the resumed checkpoint holds no teacher of this hook: it was trained without, or with "
            "a frozen one. Resume with that config, or set teacher.resume='fresh' to begin anew."
        )
    teacher.load_state_dict(state["teacher"])
    for level, bank in distiller.banks.items():
        if not isinstance(bank, QueueBank):
            continue
        try:
            bank.load_state_dict(state["banks"].get(level, {}))
        except ValueError as error:
            raise ICKDError(
                f"the resumed checkpoint holds another {level} queue ({error}). Resume with the "
                "config that it was trained with."
            ) from error
