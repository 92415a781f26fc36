# Control without a teacher: label smoothing, with the best weight of docs/results.
_base_ = ['wrong_labels_student.py']
model = dict(
    head=dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.7)))
