"""Registries of mmickd.

Those that mmengine knows are children of mmengine's root registries with the scope ``mmickd``:
``type='mmickd.X'`` resolves from any config, in the stock tools too, without ``custom_imports``
(mmengine imports ``mmickd.registry`` by itself when it meets the scope).
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope="mmickd", locations=["mmickd.hooks"])
MODELS = Registry(
    "model", parent=MMENGINE_MODELS, scope="mmickd", locations=["mmickd.losses", "mmickd.models"]
)
DATASETS = Registry(
    "dataset", parent=MMENGINE_DATASETS, scope="mmickd", locations=["mmickd.datasets"]
)
TRANSFORMS = Registry(
    "transform", parent=MMENGINE_TRANSFORMS, scope="mmickd", locations=["mmickd.datasets"]
)

TEACHERS = Registry("teacher", scope="mmickd", locations=["mmickd.teachers"])
RETRIEVERS = Registry("retriever", scope="mmickd", locations=["mmickd.retrieval"])
