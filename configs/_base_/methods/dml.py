# Deep mutual learning (Zhang et al. 2018): a peer of the same architecture trains beside the
# student, and each adds KL(other || own) at temperature 1 to its task loss. Both update from the
# same forward pass; in the paper they take turns.
custom_hooks = [
    dict(
        type='mmickd.ICKDHook',
        teacher=dict(type='OnlineTeacher', num_peers=1),
        losses=dict(
            kd=dict(loss_weight=1.0, temperature=1.0), picd=None, nicd=None))
]
