# The student's stock config plus one hook. The teacher is downloaded from mmsegmentation's zoo.
_base_ = ['../baselines/pspnet_r18_cityscapes.py', '../_base_/methods/ickd_pixels.py']

checkpoint_hint = (
    'Without a network, download the checkpoint elsewhere and give its path by --cfg-options '
    'custom_hooks.0.teacher.checkpoint=PATH.')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/teachers/pspnet_r101_cityscapes.py',
    checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_80k_cityscapes/'
    'pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth')
