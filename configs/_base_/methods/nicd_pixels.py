# NICD of pixels alone, for segmenters: the negatives are the 4 most similar rows of other classes,
# and the weight falls from 4 to 0 over the run. Use it first; each config adds its trained teacher.
# Evidence: mIoU on digit scenes 75.55 ± 0.40, of CWD 73.24 ± 0.56, of KD 69.44 ± 2.03 (`scenes`,
# 5 seeds); CWD, which needs no bank, is as good on CamVid (+1.30 ± 1.02, `camvid_slim`, 5 seeds).
# Source: NICD of IC-KD (arXiv 2501.07040); the number of rows and the schedule are our choice.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        level='pixel',
        anchors=512,
        bank=dict(capacity_per_class=4096, pixels_per_image=16),
        losses=dict(
            # weights of 0, so that options of a run can add these terms
            kd=dict(loss_weight=0.0),
            picd=dict(loss_weight=0.0),
            nicd=dict(loss_weight=dict(value=4.0, decay='linear'), num_negatives=4)))
]
