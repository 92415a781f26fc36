"""Banks in a cache folder."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from mmickd.banks import MemoryBank
from mmickd.storage.bank_files import TENSORS
from mmickd.storage.files import MANIFEST, sha256
from mmickd.structures import Samples

CACHE_KEY = {"level": "image", "teacher_weights": "abc", "images": "def", "num_classes": 3}


def make_bank(dtype=torch.float16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return MemoryBank(
        Samples(
            torch.randn(20, 5, generator=g).to(dtype),
            torch.randn(20, 3, generator=g).to(dtype),
            torch.randint(0, 3, (20,), generator=g),
            torch.randint(0, 2**62, (20,), generator=g),
        ),
        3,
    )


def rejected(cache, cache_key=CACHE_KEY):
    bank, line = cache.load(cache_key)
    assert bank is None
    assert "\n" not in line
    return line


def rewrite(folder, tensors=None, **manifest):
    """Change a stored bank and make its manifest agree with the change."""
    if tensors is not None:
        save_file(tensors, folder / TENSORS)
    values = json.loads((folder / MANIFEST).read_text())
    values["sha256"] = sha256(folder / TENSORS)
    (folder / MANIFEST).write_text(json.dumps({**values, **manifest}))
