# CamVid at a quarter of its area: 240x180 images, 128x128 crops.
_base_ = ['camvid.py']
crop_size = (128, 128)

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(  # RandomResize
    scale=(240, 180), ratio_range=(0.75, 1.5))
train_pipeline[3].update(crop_size=crop_size)  # RandomCrop
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(240, 180))  # Resize
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
