# Balanced divergences (BD-KD, arXiv 2212.12965): the student's loss is both divergences, weighted
# per query; its peer's is the reverse one. Weight and temperature are our choice, not tuned.
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
