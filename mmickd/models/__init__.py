"""Models that the configs need and that mmpretrain does not have."""

from typing import TYPE_CHECKING, Any

from mmickd.registry import MODELS

if TYPE_CHECKING:
    from mmickd.models.cifar_resnet import CIFARResNet

__all__ = ["build_cifar_resnet"]


@MODELS.register_module(name="CIFARResNet")
def build_cifar_resnet(**kwargs: Any) -> "CIFARResNet":
    """Build a :class:`~mmickd.models.cifar_resnet.CIFARResNet`.

    The registry has this function instead of the class, as the class derives from a class of
    mmpretrain and every look-up of a loss imports ``mmickd.models``, even without mmpretrain.

    Args:
        **kwargs: Arguments of ``CIFARResNet``.

    Returns:
        CIFARResNet: The backbone.

    Raises:
        ImportError: If mmpretrain is not installed.

    Example:
        >>> network = build_cifar_resnet(depth=8, stem_channels=32, base_channels=64)
        >>> sum(p.numel() for p in network.parameters())
        1207840
    """
    try:
        from mmickd.models.cifar_resnet import CIFARResNet
    except ModuleNotFoundError as error:
        raise ImportError(
            f"mmickd.CIFARResNet derives from mmpretrain's ResNet_CIFAR, but {error.name} cannot "
            'be imported: install mmpretrain, for example by `pip install "mmickd[onedl]"`.'
        ) from error
    return CIFARResNet(**kwargs)
