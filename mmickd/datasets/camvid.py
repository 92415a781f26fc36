"""CamVid with the 11 classes of the segmentation literature."""

from typing import Any

from mmseg.datasets import BaseSegDataset

from mmickd.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid, 11 classes in the order of the SegNet labels.

    The label maps have one channel with values 0..10, and 255 for unlabelled pixels.
    ``tools/dataset_converters/camvid.py`` makes them from the public copy, whose unlabelled pixels
    are 11. Layout below ``data_root``: ``img_dir/{train,val,test}`` and
    ``ann_dir/{train,val,test}``, set by ``data_prefix``.

    Args:
        img_suffix (str): Suffix of the images, ``'.png'`` or ``'.jpg'``. Defaults to ``'.png'``.
        seg_map_suffix (str): Suffix of the label maps. Defaults to ``'.png'``.
        **kwargs: Further arguments of mmseg's ``BaseSegDataset``.

    Example:
        >>> CamVidDataset.METAINFO["classes"][:2], len(CamVidDataset.METAINFO["palette"])
        (('sky', 'building'), 11)
    """

    METAINFO = dict(
        classes=(
            "sky", "building", "pole", "road", "pavement", "tree",
            "sign", "fence", "car", "pedestrian", "bicyclist",
        ),
        palette=[
            [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
            [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
        ],
    )  # fmt: skip

    def __init__(
        self, img_suffix: str = ".png", seg_map_suffix: str = ".png", **kwargs: Any
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
