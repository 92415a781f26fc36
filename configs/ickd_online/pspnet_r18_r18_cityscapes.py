# The student's config plus one hook: another network like it trains beside it, each the other's
# teacher. The weights grow from 0 over the first 20k of 80k iterations: early peers know little
# (our choice, not tuned).
_base_ = ['../baselines/pspnet_r18_cityscapes.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=512),
        losses=dict(
            kd=dict(
                loss_weight=dict(value=1.0, warmup=20000), temperature=1.0),
            picd=dict(
                loss_weight=dict(value=0.3, warmup=20000), num_positives=16),
            nicd=dict(
                loss_weight=dict(value=1.0, warmup=20000), num_negatives=32)))
]
