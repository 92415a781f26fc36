# DIST with neighbour targets, without the task loss, for classifiers with many label errors that
# the teacher has memorised. The target is the averaged prediction of the 16 rows that are most
# similar in an earlier layer of the teacher. Each config adds its teacher.
# Evidence: accuracy with 40 % label errors 98.54 ± 0.16, of DIST 95.52 ± 0.44, of KD 78.39 ± 2.76
# (`digits_noise40_late`, 5 seeds). With 20 % dist.py is as good; on hard images it does not help.
# Source: our choice; DIST is by Huang et al. (arXiv 2205.10536).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(features='backbone.layer2'),
        losses=dict(
            task=dict(loss_weight=0.0),
            kd=dict(
                type='ContextKDLoss',
                num_rows=16,
                temperature=4.0,
                loss=dict(type='DISTLoss')),
            picd=None,
            nicd=None))
]
