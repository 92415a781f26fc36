# The student's config plus one hook: another network like it trains beside it, each the other's
# teacher. The weights grow from 0 over the first 60 of 240 epochs: early peers know little (our
# choice, not tuned).
_base_ = ['../baselines/resnet8x4_tin100.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        level='image',
        bank=dict(capacity_per_class=128),
        losses=dict(
            kd=dict(
                loss_weight=dict(value=4.0, warmup=60, by_epoch=True),
                temperature=4.0),
            picd=dict(
                loss_weight=dict(value=0.3, warmup=60, by_epoch=True),
                num_positives=16),
            nicd=dict(
                loss_weight=dict(value=5.0, warmup=60, by_epoch=True),
                num_negatives=32)))
]
