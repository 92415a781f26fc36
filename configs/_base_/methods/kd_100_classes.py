# Vanilla KD alone with weight 4, for classifiers of about 100 classes. Each config adds its
# teacher.
# Evidence: top-1 on 100 Tiny-ImageNet classes at 16x16 30.61 ± 0.21, of the task loss 22.94 ± 0.28;
# PICD and NICD beside it make no measurable difference (+0.22 ± 0.36, `tin100_16px`, 2 seeds).
# Source: Hinton et al. (arXiv 1503.02531); the weight is our choice.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='image',
        losses=dict(
            kd=dict(loss_weight=4.0, temperature=4.0), picd=None, nicd=None))
]
