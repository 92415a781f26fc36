# IC-KD of pixels; each config adds its teacher. NICD uses the few hardest negatives and a weight
# that falls to 0 over the run. Adding vanilla KD and PICD gave a lower mIoU (results/README.md).
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
