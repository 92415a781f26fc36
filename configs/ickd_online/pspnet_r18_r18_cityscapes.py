# The student's config plus one hook: another network like it trains beside it, each the other's
# teacher. The weights are those of configs/ickd (our choice, not tuned for peers).
_base_ = ['../baselines/pspnet_r18_cityscapes.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=512),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=1.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=1.0, num_negatives=32)))
]
