# IC-KD of whole images from a teacher that is trained too; each config adds it. It is weak at
# first, so the weights of ickd_100_classes.py grow from 0 over the first 60 of 240 epochs (our
# choice, not tuned).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='image',
        bank=dict(capacity_per_class=128),
        losses=dict(
            kd=dict(loss_weight=dict(value=4.0, warmup=60, by_epoch=True), temperature=4.0),
            picd=dict(loss_weight=dict(value=0.3, warmup=60, by_epoch=True), num_positives=16),
            nicd=dict(loss_weight=dict(value=5.0, warmup=60, by_epoch=True), num_negatives=32)))
]
