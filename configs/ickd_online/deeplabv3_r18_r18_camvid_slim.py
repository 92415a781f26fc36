# The student's config plus one hook: another network like it trains beside it, each the other's
# teacher. The weights grow from 0 over the first 500 of 1000 iterations: early peers know little
# (our choice, not tuned).
_base_ = ['../baselines/deeplabv3_r18_camvid_slim.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        level='pixel',
        anchors=64,
        bank=dict(capacity_per_class=512),
        losses=dict(
            kd=dict(
                loss_weight=dict(value=1.0, warmup=500), temperature=1.0),
            picd=dict(
                loss_weight=dict(value=0.3, warmup=500), num_positives=16),
            nicd=dict(
                loss_weight=dict(value=1.0, warmup=500), num_negatives=32)))
]
