"""Retrieval of in-context samples: several implementations of one ``search``."""

from mmickd.retrieval.base import BaseRetriever
from mmickd.retrieval.faiss_retriever import FaissRetriever
from mmickd.retrieval.random_retriever import RandomRetriever
from mmickd.retrieval.torch_retriever import TorchRetriever

__all__ = ["BaseRetriever", "FaissRetriever", "RandomRetriever", "TorchRetriever"]
