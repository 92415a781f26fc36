# IC-KD of pixels, with the defaults of segmenters spelt out; each config adds its teacher. NICD has
# the few hardest negatives and a weight that falls to 0 over the run.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=4096, pixels_per_image=16),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=4.0, dense=False),
            picd=dict(loss_weight=0.3, temperature=1.0, num_positives=16),
            nicd=dict(loss_weight=dict(value=4.0, decay='linear'), num_negatives=4)))
]
