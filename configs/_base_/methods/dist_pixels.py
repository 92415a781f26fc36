# DIST alone for segmenters, at every pixel. Use it as a baseline beside CWD. Each config adds its
# teacher.
# Evidence: mIoU on digit scenes 72.82 ± 0.21, of KD 69.44 ± 2.03; no measurable difference to CWD
# (-0.42 ± 0.62, `scenes`, 5 seeds).
# Source: Huang et al. (arXiv 2205.10536).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        losses=dict(
            kd=dict(
                type='DISTLoss', loss_weight=1.0, temperature=4.0, dense=True),
            picd=None,
            nicd=None))
]
