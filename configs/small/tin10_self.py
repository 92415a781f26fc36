# IC-KD from the student's own average. The weights grow from 0 over the first half of the run.
_base_ = ['tin10_student.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            type='SelfTeacher', mode='ema', momentum=0.01, warmup=10),
        losses=dict(
            kd=dict(
                loss_weight=dict(value=0.1, warmup=15, by_epoch=True),
                temperature=4.0),
            picd=dict(
                loss_weight=dict(value=0.3, warmup=15, by_epoch=True),
                num_positives=16),
            nicd=dict(
                loss_weight=dict(value=0.3, warmup=15, by_epoch=True),
                num_negatives=32)))
]
