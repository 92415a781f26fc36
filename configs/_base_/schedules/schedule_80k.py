# mmsegmentation's 80k schedule
_base_ = ['schedule_40k.py']
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=80000)
train_cfg = dict(max_iters=80000, val_interval=8000)
