# NICD alone with a falling weight (recipe nicd_pixels.py) on small CamVid images: fewer anchors and
# a smaller bank.
_base_ = ['../baselines/deeplabv3_r18_camvid_slim.py', '../_base_/methods/nicd_pixels.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/teachers/deeplabv3_r50_camvid_slim.py')
custom_hooks = _base_.custom_hooks
custom_hooks[0]['teacher'] = dict(
    cfg='configs/teachers/deeplabv3_r50_camvid_slim.py',
    checkpoint='work_dirs/deeplabv3_r50_camvid_slim/iter_1000.pth')
custom_hooks[0]['anchors'] = 64
custom_hooks[0]['bank'].update(capacity_per_class=512)
