"""MoCo's queue of keys from past batches (He et al. 2020)."""

# N keys in the queue, n keys of a batch, D dimensions

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """The last N keys, first in first out; buffers, so that a checkpoint holds them.

    Starts with random directions. Memory: 4 N D bytes (65536 keys of 128 dimensions: 32 MiB).
    """

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))  # [N, D]
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by these [n, D], normalised; n must divide N.

        Raises:
            ValueError: it does not.
        """
        size, count = len(self.keys), len(keys)
        if size % count:
            raise ValueError(f"a queue of {size} does not divide into batches of {count}")
        rows = self.position + torch.arange(count, device=keys.device)  # [n], without waiting for the device
        self.keys.index_copy_(0, rows, F.normalize(keys.to(self.keys.dtype), dim=1))
        self.position.copy_((self.position + count) % size)
