# The student's stock config plus one hook. The teacher is downloaded from mmsegmentation's zoo.
_base_ = ['../baselines/pspnet_r18_cityscapes.py']

checkpoint_hint = (
    'Without a network, download the checkpoint elsewhere and give its path by --cfg-options '
    'custom_hooks.0.teacher.checkpoint=PATH.')
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            cfg='configs/teachers/pspnet_r101_cityscapes.py',
            checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_80k_cityscapes/'
            'pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth'),
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=4096, pixels_per_image=16),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=1.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=1.0, num_negatives=32)))
]
