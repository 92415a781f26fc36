# The student's config plus one hook.
_base_ = ['../baselines/deeplabv3_r18_camvid_slim.py']

checkpoint_hint = (
    'Train the teacher first: python tools/train.py configs/teachers/deeplabv3_r50_camvid_slim.py')
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            cfg='configs/teachers/deeplabv3_r50_camvid_slim.py',
            checkpoint='work_dirs/deeplabv3_r50_camvid_slim/iter_1000.pth'),
        level='pixel',
        anchors=64,
        bank=dict(capacity_per_class=512, pixels_per_image=16),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=1.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=1.0, num_negatives=32)))
]
