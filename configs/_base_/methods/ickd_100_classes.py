# IC-KD of whole images; each config adds its teacher. With about 100 classes, KD and NICD need
# larger weights than their defaults.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='image',
        losses=dict(
            kd=dict(loss_weight=4.0, temperature=4.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=5.0, num_negatives=32)))
]
