"""Memory banks: what they hold, how they are built and cached."""

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.queue_bank import QueueBank

__all__ = ["MemoryBank", "QueueBank"]
