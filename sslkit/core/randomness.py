"""Draws that depend on what they are for, and on nothing that came before."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from any words and numbers, the same on every machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(*parts: int | str, device: torch.device | None = None) -> Iterator[None]:
    """Within it torch's global generators start from `seed_of(*parts)`; afterwards they stand as before.

    Only the CPU's generator is touched, and that of `device` if it is a CUDA device.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed_of(*parts))
        for each in cuda:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(seed_of(*parts))
        if device is not None and device.type == "mps":  # draws there are always made within `seeded`
            torch.mps.manual_seed(seed_of(*parts))
        yield
