# The student, trained by the task loss alone: ResNet-8 on 10 classes of Tiny-ImageNet, 100 images
# each, 30 epochs of 16 iterations (our choice: small enough for tables on a CPU).
_base_ = [
    '../_base_/models/cifar_resnet.py', '../_base_/datasets/tin100.py',
    '../demo/_base_/digits_runtime.py'
]
data_root = 'data/tin10'
data_hint = (
    'Get http://cs231n.stanford.edu/tiny-imagenet-200.zip, unzip it, then run '
    '`python tools/dataset_converters/tin100.py tiny-imagenet-200 data/tin10 '
    '--classes tools/dataset_converters/tin10_classes.txt --train-per-class 100`.')
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    head=dict(num_classes=10, in_channels=64, topk=(1, )))
data_preprocessor = dict(num_classes=10)
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, ))
test_evaluator = val_evaluator

# the schedule of the digits with the optimizer of tin100
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(T_max=30)
train_cfg = dict(max_epochs=30, val_interval=30)
default_hooks = dict(logger=dict(interval=16), checkpoint=dict(interval=30))
