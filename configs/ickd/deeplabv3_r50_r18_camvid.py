# The student's config plus one hook.
_base_ = ['../baselines/deeplabv3_r18_camvid.py', '../_base_/methods/ickd_pixels.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/teachers/deeplabv3_r50_camvid.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/teachers/deeplabv3_r50_camvid.py',
    checkpoint='work_dirs/deeplabv3_r50_camvid/iter_40000.pth')
