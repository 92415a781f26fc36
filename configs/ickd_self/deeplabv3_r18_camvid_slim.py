# The student's config plus one hook, whose teacher is the student's own average. The weights grow
# from 0 over the first 500 of 1000 iterations: an early average knows little (our choice, not
# tuned). So short a run needs a quick average.
_base_ = ['../baselines/deeplabv3_r18_camvid_slim.py']

custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            type='SelfTeacher', mode='ema', momentum=0.01, warmup=10),
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
