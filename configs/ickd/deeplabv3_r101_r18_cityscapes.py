# The student's stock config plus one hook. The teacher is downloaded from mmsegmentation's zoo.
_base_ = ['../baselines/deeplabv3_r18_cityscapes.py', '../_base_/methods/ickd_pixels.py']

checkpoint_hint = (
    'Without a network, download the checkpoint elsewhere and give its path by --cfg-options '
    'custom_hooks.0.teacher.checkpoint=PATH.')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/teachers/deeplabv3_r101_cityscapes.py',
    checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/deeplabv3/deeplabv3_r101-d8_512x1024_80k_cityscapes/'
    'deeplabv3_r101-d8_512x1024_80k_cityscapes_20200606_113503-9e428899.pth')
