"""Memory banks and their options."""

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.options import BankOptions
from mmickd.banks.queue_bank import QueueBank

__all__ = ["BankOptions", "MemoryBank", "QueueBank"]
