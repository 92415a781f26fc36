"""Ids of the images of data samples."""

from types import SimpleNamespace

import torch

from mmickd.sampling import image_id
from mmickd.tasks.base import data_sample_id, data_sample_ids


def test_identity_of_an_image():
    def sample(**meta):
        return SimpleNamespace(metainfo=meta)

    assert data_sample_id(sample(img_path="x", sample_idx=3)) == image_id("x")
    assert data_sample_id(sample(img_path=None, sample_idx=3)) == image_id("#3")
    assert data_sample_id(sample(sample_idx=0)) >= 0
    assert data_sample_id(sample()) == -1


def test_identities_of_a_batch():
    samples = [
        SimpleNamespace(metainfo=meta) for meta in (dict(img_path="x"), {}, dict(sample_idx=3))
    ]
    ids = data_sample_ids(samples, torch.device("cpu"))
    assert ids.tolist() == [image_id("x"), -1, image_id("#3")] and ids.dtype == torch.long
    assert data_sample_ids([], torch.device("cpu")).shape == (0,)


def test_the_path_identifies_an_image_at_any_index():
    first, moved = (SimpleNamespace(metainfo=dict(img_path="x", sample_idx=i)) for i in (0, 1))
    assert data_sample_id(first) == data_sample_id(moved)
    assert data_sample_id(SimpleNamespace(metainfo=dict(img_path="y", sample_idx=0))) != (
        data_sample_id(first)
    )
