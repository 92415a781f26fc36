"""New task: classifiers that predict a class in every cell of a grid, with one label per image.

    custom_imports = dict(imports=['new_task'])

A model whose ``predicts_cells`` is True is then distilled cell by cell: no option is needed.
"""

import torch

from mmickd.registry import TASKS
from mmickd.structures import View
from mmickd.tasks import ClassificationTask
from mmickd.tasks.base import data_sample_ids
from mmickd.tasks.levels import PixelLevel


def by_cell(grid):
    """Reshape ``(B, C, h, w)`` to ``(B, h * w, C)``."""
    return grid.flatten(2).transpose(1, 2)


@TASKS.register_module()
class CellTask(ClassificationTask):
    """Task with the labels and checks of images, and cells as locations."""

    levels = {"cell": PixelLevel()}

    @classmethod
    def fits(cls, model):
        """True for models with this attribute."""
        return getattr(model, "predicts_cells", False)

    @classmethod
    def classifier_names(cls, model):
        """Return no name: a dry run of the model finds the layer."""
        return ()

    def view(self, teacher, batch, student=None):
        """Return every cell of the teacher's grid, with the label of its image."""
        labels = torch.stack([sample.gt_label.reshape(()) for sample in batch.data_samples])
        labels = labels.to(teacher.logits.device)[:, None].expand(-1, teacher.logits[0, 0].numel())
        return View(
            features=by_cell(teacher.features),
            logits=by_cell(teacher.logits),
            labels=labels,
            valid=torch.ones_like(labels, dtype=torch.bool),
            ids=data_sample_ids(batch.data_samples, labels.device),
            student_logits=None if student is None else by_cell(student.logits.float()),
            student_features=None if student is None else lambda: by_cell(student.features),
        )
