"""Several prompts for one batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..schema import search_aliases

_LONGEST = 4096  # tokens: what a model reads at most


class EncodePromptBatch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EncodePromptBatch",
            display_name="Encode Prompt Batch",
            category="RectifID/sampling",
            **search_aliases("several prompts"),
            description="Encodes a prompt for each picture of a batch: the first line is that of the first picture. "
            "One identity in several scenes then takes one run.",
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt on each line; empty lines do not count.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(tooltip="For the positive input of a sampler."),
                io.Int.Output(display_name="count", tooltip="The number of prompts: connect it to batch_size."),
            ],
        )

    @classmethod
    def execute(cls, clip, prompts: str) -> io.NodeOutput:
        lines = [line.strip() for line in prompts.splitlines() if line.strip()]
        if not lines:
            raise ValueError("There is no prompt: write one on each line.")
        if clip is None:
            raise ValueError("There is no CLIP. If it comes from a checkpoint loader, this checkpoint has none.")
        encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(line)) for line in lines]
        if any(len(each) > 1 for each in encoded):
            raise ValueError(
                "This CLIP changes its weights while the model samples (hooks), so that prompts cannot share a batch."
            )
        return io.NodeOutput([_together([each[0] for each in encoded])], len(lines))


def _together(entries: list[list]) -> list:
    """The host's conditioning of each prompt, ``[(1, tokens, width), options]``, as one of all."""
    contexts = [context for context, _ in entries]
    # repeating a prompt's tokens does not change what attention reads from them; the host does the same
    length = math.lcm(*(context.shape[1] for context in contexts))
    if length > _LONGEST:
        raise ValueError("These prompts are of too different lengths to share a batch. Make them about equally long.")
    context = torch.cat([context.repeat(1, length // context.shape[1], 1) for context in contexts])
    options = {name: _option(name, [each[1].get(name) for each in entries]) for name in entries[0][1]}
    return [context, options]


def _option(name: str, values: list[Any]) -> Any:
    """Rows of a tensor for each prompt; anything else has to be the same for all."""
    if all(isinstance(value, Tensor) for value in values):
        if len({value.shape[1:] for value in values}) > 1:
            raise ValueError(f"These prompts differ in the size of their {name}. Make them about equally long.")
        return torch.cat(values)
    if any(value != values[0] for value in values):
        raise ValueError(f"These prompts differ in their {name}, so that they cannot share a batch.")
    return values[0]
