"""WordEmbedding: features of a task's description in words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn


@lru_cache(maxsize=4096)
def hashed_words(text: str, buckets: int) -> tuple[int, ...]:
    """Buckets of the words and of the pairs of neighbouring words in a text, in any language and without a vocabulary.

    The hash is CRC-32, which is the same in every process and on every machine. Letter case and punctuation do not count.
    """
    words = re.findall(r"\w+", text.casefold())
    pairs = [f"{first} {second}" for first, second in zip(words, words[1:])]
    return tuple(zlib.crc32(part.encode()) % buckets for part in (*words, *pairs))


class WordEmbedding(nn.Module):
    """Mean of learned embeddings of the words and word pairs of a task, followed by a layer.

    It tells apart the tasks of a training, also when they are worded a little differently. It does not know the meaning of words
    that are in no task of the training.

    Args:
        feature_dim: Length F of the output.
        buckets: Number of embeddings. Words of equal hash share one.
        width: Length of an embedding.
    """

    def __init__(self, feature_dim: int, *, buckets: int = 1024, width: int = 64) -> None:
        super().__init__()
        self.buckets = buckets
        self.embeddings = nn.EmbeddingBag(buckets, width, mode="mean")
        self.project = nn.Sequential(nn.Linear(width, feature_dim), nn.SiLU())

    def forward(self, tasks: Sequence[str]) -> Tensor:
        """Features (B, F) of B texts. A text without words has the features of an empty one."""
        words = [hashed_words(task, self.buckets) for task in tasks]
        starts = [0]
        for text in words[:-1]:
            starts.append(starts[-1] + len(text))
        device = self.embeddings.weight.device
        flat = torch.tensor([bucket for text in words for bucket in text], dtype=torch.int64, device=device)
        return self.project(self.embeddings(flat, torch.tensor(starts, device=device)))
