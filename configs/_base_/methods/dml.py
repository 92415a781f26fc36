# Deep mutual learning, for classifiers without a trained teacher: a peer of the same architecture
# trains beside the student, and each adds KL(other || own) at temperature 1 to its task loss. Both
# update from the same forward pass; in the paper they take turns.
# Evidence: no measurable difference to the task loss: +0.46 ± 0.34 on 200 digits, -0.12 ± 0.51 on
# tin10 (configs/small/README.md, 5 seeds).
# Source: Zhang et al. (arXiv 1706.00384).
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=1.0), picd=None, nicd=None))
]
