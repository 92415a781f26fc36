"""In-context knowledge distillation for mmsegmentation and mmpretrain."""

from importlib.util import find_spec

from mmickd.version import __version__

if find_spec("mmengine") is None:
    raise ImportError(
        "mmickd needs mmengine, which is not installed. Install the tested stack with "
        '`pip install "mmickd[onedl]"`.'
    )

__all__ = ["__version__"]
