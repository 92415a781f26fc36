# BD-KD, for classifiers without a trained teacher: the student's loss is both divergences, weighted
# per query; its peer's loss is the reverse divergence.
# Evidence: none, it was never compared. Weight and temperature are our choice, not tuned.
# Source: arXiv 2212.12965.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(
            type='OnlineTeacher',
            num_peers=1,
            losses=dict(
                kd=dict(
                    loss_weight=1.0, temperature=4.0, divergence='reverse'),
                picd=None,
                nicd=None)),
        losses=dict(
            kd=dict(
                loss_weight=1.0,
                temperature=4.0,
                divergence='balanced',
                emphasis=2.0),
            picd=None,
            nicd=None))
]
