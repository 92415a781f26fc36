# The student's stock config plus one hook, whose teacher is the student's own average. The weights
# grow from 0 over the first 20k of 80k iterations: an early average knows little (our choice, not
# tuned).
_base_ = ['../baselines/pspnet_r18_cityscapes.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            type='SelfTeacher', mode='ema', momentum=0.001, warmup=10),
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
