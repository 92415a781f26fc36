# IC-KD of pixels, where each config adds its teacher: NICD with few negatives, the hardest, and a
# weight that falls to 0 over the run. With vanilla KD and PICD beside it it came out lower
# (results/README.md).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=4096, pixels_per_image=16),
        losses=dict(
            kd=dict(loss_weight=0.0),
            picd=dict(loss_weight=0.0),
            nicd=dict(loss_weight=dict(value=4.0, decay='linear'), num_negatives=4)))
]
