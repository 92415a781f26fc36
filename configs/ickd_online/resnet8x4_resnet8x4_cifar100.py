# The student's config plus one hook: another network like it trains beside it, each the other's
# teacher. The weights are those of configs/ickd (our choice, not tuned for peers).
_base_ = ['../baselines/resnet8x4_cifar100.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        level='image',
        bank=dict(capacity_per_class=128),
        losses=dict(
            kd=dict(loss_weight=4.0, temperature=4.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=5.0, num_negatives=32)))
]
