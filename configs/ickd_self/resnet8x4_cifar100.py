# The student's config plus one hook, whose teacher is the student's own average. With about 100
# classes the weights of KD and NICD want to be larger than their defaults. They grow from 0 over
# the first 60 of 240 epochs: an early average knows little (our choice, not tuned).
_base_ = ['../baselines/resnet8x4_cifar100.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            type='SelfTeacher', mode='ema', momentum=0.001, warmup=10),
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
