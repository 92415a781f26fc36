# Label smoothing by 0.4 for classifiers and segmenters: a control that uses no teacher. Compare
# every method on few images with it. The hook requires a teacher, but the loss does not use it: add
# the teacher of the compared method. mmpretrain has the same without the hook (LabelSmoothLoss).
# Evidence: accuracy on 200 digits 97.05 ± 0.46, of KD 94.83 ± 0.27 (`digits`, 3 seeds,
# LabelSmoothLoss); mIoU on digit scenes 65.92 ± 1.14, of the task loss 66.37 ± 1.80 (`scenes`,
# 5 seeds, smoothing by 0.2).
# Source: Szegedy et al. (arXiv 1512.00567).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        losses=dict(
            task=dict(loss_weight='complement'),
            smoothing=dict(type='LabelSmoothingLoss', loss_weight=0.4),
            kd=None,
            picd=None,
            nicd=None))
]
