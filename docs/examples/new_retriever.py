"""A retriever of your own: rows of the right classes at random, a control of retrieval itself.

custom_imports = dict(imports=['new_retriever'])
retriever = dict(type='RandomRetriever', seed=3)             # in the hook's entry
"""

import torch

from mmickd.registry import RETRIEVERS
from mmickd.retrieval import BaseRetriever
from mmickd.retrieval.base import masked_topk
from mmickd.sampling import keyed_hash
from mmickd.utils.validation import check_integer


@RETRIEVERS.register_module()
class RandomRetriever(BaseRetriever):
    """Chosen by a hash of (seed, image, row): the run's own random numbers stay as they are.

    Args:
        seed: of the choice.
    """

    searches_queues = True

    def __init__(self, seed: int = 0) -> None:
        check_integer(seed, 0, "seed")
        self.seed = seed

    def topk(self, bank, query, num_positives, num_negatives):
        """Similarities and rows of positives and of negatives, each ``(Q, K)``."""
        similarity = query.features @ bank.features.float().T
        bank.leave_out(similarity, query.ids)
        own = bank.labels == query.labels[:, None]
        unlabelled = (query.labels < 0)[:, None]
        positives = similarity.masked_fill(~own, -torch.inf)
        negatives = similarity.masked_fill(own | unlabelled, -torch.inf)
        return self._some(positives, query, num_positives), self._some(
            negatives, query, num_negatives
        )

    def _some(self, similarity, query, k):
        rows = torch.arange(similarity.shape[1], device=similarity.device)
        luck = keyed_hash(self.seed, query.ids[:, None], rows)
        luck = luck.masked_fill(similarity == -torch.inf, -1)
        chosen = luck.topk(min(k, len(rows)), dim=1).indices
        return masked_topk(similarity.gather(1, chosen), chosen, k)
