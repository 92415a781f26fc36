"""In-context knowledge distillation for mmsegmentation and mmpretrain.

All public names can be imported from here (``from mmickd import ICKDHook``). The module of a name
is imported at its first use, so that ``import mmickd`` is fast.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmickd.version import __version__

if find_spec("mmengine") is None:
    raise ImportError(
        "mmickd needs mmengine, which is not installed. Install the tested stack with "
        '`pip install "mmickd[onedl]"`.'
    )

if TYPE_CHECKING:
    from mmickd.banks import MemoryBank, QueueBank
    from mmickd.hooks import ContextVisualizationHook, ICKDHook
    from mmickd.losses import (
        BaseLoss,
        ContextKDLoss,
        CWDLoss,
        DISTLoss,
        DKDLoss,
        KDLoss,
        LabelSmoothingLoss,
        LogitLoss,
        MembershipLoss,
        NICDLoss,
        PICDLoss,
        PLDLoss,
        RelationalLoss,
        WTTMLoss,
        dist_loss,
        dkd_loss,
        kd_loss,
        nicd_loss,
        picd_loss,
    )
    from mmickd.registry import LOSSES, RETRIEVERS, TASKS, TEACHERS
    from mmickd.retrieval import BaseRetriever, FaissRetriever, RandomRetriever, TorchRetriever
    from mmickd.structures import Batch, Context, Queries, Samples, Tapped, View
    from mmickd.tasks import ClassificationTask, Level, SegmentationTask, Task
    from mmickd.teachers import (
        NetworkTeacher,
        OfflineTeacher,
        OnlineTeacher,
        PeerStep,
        SelfTeacher,
        Source,
        Teacher,
    )
    from mmickd.utils.errors import ICKDError

__all__ = [
    "BaseLoss",
    "BaseRetriever",
    "Batch",
    "CWDLoss",
    "ClassificationTask",
    "Context",
    "ContextKDLoss",
    "ContextVisualizationHook",
    "DISTLoss",
    "DKDLoss",
    "FaissRetriever",
    "ICKDError",
    "ICKDHook",
    "KDLoss",
    "LOSSES",
    "LabelSmoothingLoss",
    "PeerStep",
    "Level",
    "LogitLoss",
    "MembershipLoss",
    "MemoryBank",
    "NICDLoss",
    "NetworkTeacher",
    "OfflineTeacher",
    "OnlineTeacher",
    "PICDLoss",
    "PLDLoss",
    "Queries",
    "QueueBank",
    "RETRIEVERS",
    "RandomRetriever",
    "RelationalLoss",
    "Samples",
    "SegmentationTask",
    "SelfTeacher",
    "Source",
    "TASKS",
    "TEACHERS",
    "Tapped",
    "Task",
    "Teacher",
    "TorchRetriever",
    "View",
    "WTTMLoss",
    "__version__",
    "dist_loss",
    "dkd_loss",
    "kd_loss",
    "nicd_loss",
    "picd_loss",
]

_ROOMS = (
    "utils.errors",
    "structures",
    "registry",
    "losses",
    "banks",
    "tasks",
    "retrieval",
    "teachers",
    "hooks",
)
"""Modules of the public names, in the order of the look-up."""

if not TYPE_CHECKING:  # with it, type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import a public name at its first use."""
        if name in __all__:
            for room in _ROOMS:
                module = import_module(f"mmickd.{room}")
                if hasattr(module, name):
                    globals()[name] = getattr(module, name)
                    return globals()[name]
        raise AttributeError(f"module 'mmickd' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
