# 600 digits, 40 % of them with the label of another class; trained by the task loss alone.
_base_ = ['digits_student.py']
data_root = 'data/digits_wrong_labels'
data_hint = (
    'Make it with `python tools/dataset_converters/digits.py --train-per-class 60 '
    '--label-noise 0.4 --out data/digits_wrong_labels`.')
train_dataloader = dict(batch_size=50, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
# 30 epochs of 12 iterations
param_scheduler = dict(T_max=30)
train_cfg = dict(max_epochs=30, val_interval=30)
default_hooks = dict(logger=dict(interval=12), checkpoint=dict(interval=30))
