# IC-KD of pixels with the default weights, where each config adds its teacher.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=4096, pixels_per_image=16),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=1.0),
            picd=dict(loss_weight=0.3, num_positives=16),
            nicd=dict(loss_weight=1.0, num_negatives=32)))
]
