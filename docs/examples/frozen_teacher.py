"""New frozen teacher: any network of torchvision, for which no OpenMMLab config is needed.

    custom_imports = dict(imports=['frozen_teacher'])
    teacher = dict(type='TorchvisionTeacher', name='resnet50', checkpoint='weights.pth',
                   num_classes=100, mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])

Bank, cache, checks, KD and all other terms work as with every frozen teacher.
"""

import torch
import torchvision
from mmengine.model import BaseModel

from mmickd.registry import TEACHERS
from mmickd.teachers import NetworkTeacher


class TorchvisionModel(BaseModel):
    """Network as a model of mmengine, with the preprocessing of its training."""

    def __init__(self, network, mean, std):
        normalise = dict(type="mmpretrain.ClsDataPreprocessor", mean=mean, std=std, to_rgb=True)
        super().__init__(data_preprocessor=normalise)
        self.network = network

    def forward(self, inputs, data_samples=None, mode="tensor"):
        """Return the logits, ``(B, C)``."""
        return self.network(inputs)


@TEACHERS.register_module()
class TorchvisionTeacher(NetworkTeacher):
    """Trained network of torchvision.

    Args:
        name: Name of the model.
        checkpoint: File of its state dict.
        num_classes: Number of classes of its classifier.
        mean: Means of the channels, RGB, in 0..255.
        std: Standard deviations of the channels.
        layer: Name of its classifier layer; 'auto' finds it.
        dtype: 'fp32', 'fp16' or 'bf16'.
    """

    def __init__(self, name, checkpoint, num_classes, mean, std, layer="auto", dtype="fp32"):
        super().__init__(layer, dtype)
        self.name, self.checkpoint, self.num_classes = name, checkpoint, num_classes
        self.mean, self.std = mean, std

    def make_network(self, run):
        """Return the network with its weights."""
        network = torchvision.models.get_model(self.name, num_classes=self.num_classes)
        network.load_state_dict(torch.load(self.checkpoint, weights_only=True))
        return TorchvisionModel(network, self.mean, self.std)
