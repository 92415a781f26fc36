# Deep mutual learning with a peer of the same architecture; there is no weight to choose.
_base_ = ['tin10_student.py', '../_base_/methods/dml.py']
