"""New retriever: negatives of many classes, with a maximum number of rows of each class.

custom_imports = dict(imports=['new_retriever'])
retriever = dict(type='CappedRetriever', per_class=1)         # in the hook's entry
"""

import torch

from mmickd.registry import RETRIEVERS
from mmickd.retrieval import BaseRetriever
from mmickd.retrieval.base import masked_topk
from mmickd.utils.validation import check_integer


@RETRIEVERS.register_module()
class CappedRetriever(BaseRetriever):
    """Retriever of the most similar rows, with a maximum number of negatives of each class.

    Args:
        per_class: Maximum number of negatives of one class.
    """

    searches_queues = True

    def __init__(self, per_class: int = 1) -> None:
        check_integer(per_class, 1, "per_class")
        self.per_class = per_class

    def topk(self, bank, query, num_positives, num_negatives):
        """Return similarities and rows of positives and of negatives, each ``(Q, K)``."""
        similarity = query.features @ bank.features.float().T
        bank.leave_out(similarity, query.ids)
        unlabelled = (query.labels < 0)[:, None]
        is_same_class = bank.labels == query.labels[:, None]
        positives = similarity.masked_fill(~is_same_class, -torch.inf)
        negatives = similarity.masked_fill(is_same_class | unlabelled, -torch.inf)
        capped = torch.full_like(negatives, -torch.inf)
        for label in range(bank.num_classes):
            of_class = negatives.masked_fill(bank.labels != label, -torch.inf)
            best, rows = of_class.topk(min(self.per_class, of_class.shape[1]), dim=1)
            capped.scatter_reduce_(1, rows, best, "amax")
        return masked_topk(positives, None, num_positives), masked_topk(capped, None, num_negatives)
