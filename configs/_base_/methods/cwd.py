# Channel-wise distillation of the logits alone, for segmenters. Use it first where no bank is to be
# built. Each config adds its teacher.
# Evidence: mIoU on CamVid slim 45.82 ± 0.89, of KD 39.62 ± 1.51 (`camvid_slim`, 5 seeds); on digit
# scenes 73.24 ± 0.56, of nicd_pixels.py 75.55 ± 0.40 (`scenes`, 5 seeds).
# Source: Shu et al. (arXiv 2011.13256); weight 1 instead of the paper's 3 is our choice.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        losses=dict(
            kd=dict(type='CWDLoss', loss_weight=1.0, temperature=4.0),
            picd=None,
            nicd=None))
]
