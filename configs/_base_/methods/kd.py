# Vanilla KD alone, at temperature 4, for classifiers and segmenters (every pixel). Use it as the
# baseline of every other recipe, and tune its weight first. Each config adds its teacher.
# Evidence: accuracy on 200 digits 94.83 ± 0.27, of label smoothing 97.05 ± 0.46 (`digits`,
# 3 seeds). Segmenters need temperature 4, not 1: 6.3 and 8.2 points (docs/results/negative.md, one
# seed each).
# Source: Hinton et al. (arXiv 1503.02531).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=4.0, dense=True),
            picd=None,
            nicd=None))
]
