"""Encode Prompt Batch: a row of the conditioning for each line."""

from __future__ import annotations

import pytest
import torch


class Clip:
    """The two methods of the host's CLIP that the node calls; a prompt's context is as long as the prompt."""

    def __init__(self, **options):
        self.options = options

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, text):
        context = torch.arange(len(text), dtype=torch.float32)[None, :, None].repeat(1, 1, 3)
        return [[context, {"pooled_output": torch.full((1, 2), float(len(text))), **self.options}]]


def test_each_line_is_a_row_and_shorter_ones_are_repeated(run):
    (conditioning, count) = run("EncodePromptBatch", clip=Clip(guidance=3.5), prompts="ab\n\n  abcd ").result
    ((context, options),) = conditioning
    assert count == 2
    assert context[..., 0].tolist() == [[0, 1, 0, 1], [0, 1, 2, 3]]
    assert options["pooled_output"][:, 0].tolist() == [2, 4] and options["guidance"] == 3.5


def test_each_row_is_encoded_as_by_the_host(run, parts, job):
    """Each row is what the host's CLIP Text Encode makes of its line."""
    import nodes as host_nodes

    (conditioning, _) = run("EncodePromptBatch", clip=parts.clip, prompts="a red hat\na blue hat").result
    ((context, options),) = conditioning
    for row, text in enumerate(("a red hat", "a blue hat")):
        ((encoded, its),) = host_nodes.CLIPTextEncode().encode(parts.clip, text)[0]
        torch.testing.assert_close(context[row], encoded[0])
        torch.testing.assert_close(options["pooled_output"][row], its["pooled_output"][0])


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (" \n\n", "no prompt"),
        ("\n".join("x" * length for length in (97, 89)), "lengths"),
    ],
)
def test_prompts_that_cannot_be_one_batch_are_refused(run, prompts, message):
    with pytest.raises(ValueError, match=message):
        run("EncodePromptBatch", clip=Clip(), prompts=prompts)


def test_a_missing_clip_is_refused(run):
    with pytest.raises(ValueError, match="CLIP"):
        run("EncodePromptBatch", clip=None, prompts="a hat")


def test_what_is_no_clip_is_named(run):
    with pytest.raises(ValueError, match="a text arrives at clip, where a CLIP should"):
        run("EncodePromptBatch", clip="text", prompts="a person")


def test_what_is_no_report_or_model_is_named(run):
    for node, socket in (("PlotConvergence", "report"), ("ModelSamplingRectifiedFlow", "model")):
        for junk in (None, 7, "text"):
            with pytest.raises(ValueError, match=f"arrives at {socket}, where"):
                run(node, **{socket: junk})
