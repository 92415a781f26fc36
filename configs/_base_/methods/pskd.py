# Progressive self-distillation (PS-KD, arXiv 2006.12000): the teacher is the student of the
# previous epoch. The targets of epoch t of 240 are (1 - a) labels + a predictions with a = 0.8 t /
# 240; `warmup` is the length of the run.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='SelfTeacher', mode='snapshot'),
        losses=dict(
            task=dict(loss_weight='complement'),
            kd=dict(
                loss_weight=dict(
                    value=0.8, warmup=240, by_epoch=True, stepwise=True),
                temperature=1.0),
            picd=None,
            nicd=None))
]
