# IC-KD of small images of 10 classes from a teacher that is trained too; each config adds it. It is
# weak at first, so the weights grow from 0 over the first 30 of 60 epochs.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        losses=dict(
            kd=dict(loss_weight=dict(value=1.0, warmup=30, by_epoch=True), temperature=4.0),
            picd=dict(loss_weight=dict(value=0.3, warmup=30, by_epoch=True), num_positives=16),
            nicd=dict(loss_weight=dict(value=1.0, warmup=30, by_epoch=True), num_negatives=32)))
]
