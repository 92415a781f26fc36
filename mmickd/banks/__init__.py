"""Memory banks: what they hold, how they are built and cached."""

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.queue_bank import QueueBank
from mmickd.banks.sampling import image_id

__all__ = ["MemoryBank", "QueueBank", "image_id"]
