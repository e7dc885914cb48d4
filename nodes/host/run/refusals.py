"""What the host says of inputs that do not belong together, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_SHAPES = ("mat1 and mat2 shapes cannot be multiplied", "normalized_shape", "size of tensor a")


@contextmanager
def prompts_of_this_model() -> Iterator[None]:
    """Inside, ValueError, with advice, for prompts that the model cannot read."""
    try:
        yield
    except KeyError as error:
        if error.args != ("pooled_output",):
            raise
        raise ValueError(
            "positive or negative: this model reads a summary of the prompt, which this conditioning has not, so that "
            "it comes from the text encoder of another model: connect CLIP Text Encode with the CLIP of this model."
        ) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _SHAPES):
            raise
        raise ValueError(
            f"This model cannot read what it gets ({str(error).splitlines()[0]}): positive or negative, or a "
            "ControlNet, are of another model. Connect CLIP Text Encode with the CLIP of this model."
        ) from error
