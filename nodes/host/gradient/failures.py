"""What a gradient may fail of and another way to it not: by the message, where torch has no class for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# RuntimeErrors of the CPU's allocators (Linux and macOS, Windows), of MPS, DirectML, and of libraries on a card
_OUT_OF_MEMORY = (
    "out of memory",
    "defaultcpuallocator",
    "not enough memory",
    "not enough gpu video memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
_SAID = "There is too little memory"  # to do what, and what to do about it
_IN_PLACE = "modified by an inplace operation"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on any device: only on some is that torch.OutOfMemoryError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Inside, running out of memory raises torch.OutOfMemoryError, with advice, on any device; the host knows that."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or str(error).startswith(_SAID):
            raise
        raise torch.OutOfMemoryError(f"{_SAID} to {advice}; close other programs that use the memory.") from error


def is_change_of_saved_tensor(error: BaseException) -> bool:
    """Whether something in the model changed in place what autograd had saved."""
    return isinstance(error, RuntimeError) and _IN_PLACE in str(error)
