# IC-KD of pixels from a teacher that is trained too; each config adds it. It is weak at first, so
# the weights grow from 0 over the first 20k of 80k iterations (our choice, not tuned).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=512),
        losses=dict(
            kd=dict(loss_weight=dict(value=1.0, warmup=20000), temperature=1.0),
            picd=dict(loss_weight=dict(value=0.3, warmup=20000), num_positives=16),
            nicd=dict(loss_weight=dict(value=1.0, warmup=20000), num_negatives=32)))
]
