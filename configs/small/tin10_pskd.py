# Progressive self-distillation (PS-KD, arXiv 2006.12000) with the published weight.
_base_ = ['tin10_student.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='SelfTeacher', mode='snapshot'),
        losses=dict(
            task=dict(loss_weight='complement'),
            kd=dict(
                loss_weight=dict(
                    value=0.8, warmup=30, by_epoch=True, stepwise=True),
                temperature=1.0),
            picd=None,
            nicd=None))
]
