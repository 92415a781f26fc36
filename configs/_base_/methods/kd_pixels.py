# Vanilla KD alone for segmenters: every pixel, temperature 4, weight 3. Use it as the baseline of
# nicd_pixels.py and cwd.py, which are better. Each config adds its teacher.
# Evidence: mIoU on digit scenes 69.44 ± 2.03, of the task loss 66.37 ± 1.80 (`scenes`, 5 seeds).
# The weight is the largest one of the search, so a larger one may be better.
# Source: Hinton et al. (arXiv 1503.02531).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        losses=dict(
            kd=dict(loss_weight=3.0, temperature=4.0, dense=True),
            picd=None,
            nicd=None))
]
