# The student, trained by the task loss alone: ResNet-8 of width 16 on CIFAR-100 at 16x16, 200
# images of each class, 12 epochs of 157 iterations (our choice: small enough to search on a CPU).
_base_ = ['tin100_16px_student.py']
data_root = 'data/cifar100_small'
data_hint = (
    'Run `python tools/dataset_converters/cifar100.py data/cifar100/cifar-100-python '
    'data/cifar100_folders`, then `python tools/dataset_converters/derive.py '
    'data/cifar100_folders data/cifar100_small --select 50 --per-class 200`.')
extensions = ('.png', '.jpg', '.webp')
data_preprocessor = dict(
    mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055])
train_dataloader = dict(
    dataset=dict(dataset=dict(data_root=data_root, extensions=extensions)))
val_dataloader = dict(
    dataset=dict(dataset=dict(data_root=data_root, extensions=extensions)))
test_dataloader = dict(
    dataset=dict(data_root=data_root, extensions=extensions))
