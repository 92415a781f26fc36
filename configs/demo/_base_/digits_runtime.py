# 60 epochs of 8 iterations.
_base_ = ['../../_base_/mmpretrain_runtime.py']
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.01))
param_scheduler = dict(
    type='CosineAnnealingLR', T_max=60, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=60, val_interval=60)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(interval=8), checkpoint=dict(interval=60, max_keep_ckpts=1))
randomness = dict(seed=0)
