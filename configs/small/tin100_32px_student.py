# The student of baselines/ with the images in memory and no workers. They can be kept on the GPU:
# --cfg-options train_dataloader.dataset.device=cuda val_dataloader.dataset.device=cuda
_base_ = ['../baselines/resnet8x4_tin100.py']
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        _delete_=True,
        type='mmickd.InMemoryDataset',
        device=None,
        dataset=_base_.train_dataloader.dataset))
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        _delete_=True,
        type='mmickd.InMemoryDataset',
        device=None,
        dataset=_base_.val_dataloader.dataset))
