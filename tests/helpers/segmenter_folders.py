"""Segmenters in folders as users have them: the real classes of transformers, tiny, with random weights."""

from __future__ import annotations

from pathlib import Path

import transformers
from torch import nn

from .subject_folders import scatter

LABELS = ["wall", "sky", "person, individual", "tree"]


def write_segmenter(folder: Path, kind: str = "segformer", side: int = 64) -> nn.Module:
    """For pictures of ``side`` pixels; returns the network that was saved."""
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: n for n, label in enumerate(LABELS)}}
    if kind == "mask2former":
        backbone = transformers.SwinConfig(
            image_size=side,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        config = transformers.Mask2FormerConfig(
            backbone_config=backbone,
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=32,
            dim_feedforward=32,
            encoder_layers=1,
            decoder_layers=2,
            num_attention_heads=2,
            num_queries=8,
            **names,
        )
        network = transformers.Mask2FormerForUniversalSegmentation(config)
        processor = transformers.Mask2FormerImageProcessor(size={"height": side, "width": side})
    else:
        config = transformers.SegformerConfig(
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 8, 16, 16],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=16,
            **names,
        )
        network = transformers.SegformerForSemanticSegmentation(config)
        processor = transformers.SegformerImageProcessor(size={"height": side, "width": side})
    scatter(network, seed=5).save_pretrained(folder)
    processor.save_pretrained(folder)
    return network
