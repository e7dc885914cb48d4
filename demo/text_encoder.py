"""The embedded model's text encoder: tokens of the host's CLIP tokenizer to eight context vectors and one pooled
vector.

The tokenizer knows 49,408 tokens and this world fewer than a hundred, so that the table keeps the rows of the known
ones and one row for everything else.  Eight learned queries read the sentence, whatever its length, and keep the
flow's context short.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TOKENIZER_SIZE = 49408
WIDTH = 192
QUERIES = 8
LENGTH = 77


class TextEncoder(nn.Module):
    """``forward``: tokens (B, 77) int64 -> context (B, 8, 192), pooled (B, 192).

    vocabulary: the known token ids, for a new, untrained encoder; a saved one brings its own.
    """

    def __init__(self, vocabulary: list[int] | None = None, known: int = 0):
        super().__init__()
        known = len(vocabulary) if vocabulary is not None else known
        rows = torch.full((TOKENIZER_SIZE,), known, dtype=torch.int32)
        if vocabulary is not None:
            rows[torch.tensor(sorted(vocabulary))] = torch.arange(known, dtype=torch.int32)
        self.register_buffer("rows", rows)
        self.tokens = nn.Embedding(known + 1, WIDTH)
        self.positions = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
        self.queries = nn.Parameter(torch.randn(QUERIES + 1, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.sentence = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.read = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.out = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH))

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> TextEncoder:
        encoder = cls(known=state["tokens.weight"].shape[0] - 1)
        encoder.load_state_dict(state)
        return encoder

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        # the tokenizer pads with its end token: whatever follows the first one says nothing
        padding = (tokens == TOKENIZER_SIZE - 1).cumsum(1) > 1
        longest = int((~padding).sum(1).max())
        tokens, padding = tokens[:, :longest], padding[:, :longest]
        words = self.tokens(self.rows[tokens].long()) + self.positions[:longest]
        words = self.sentence(words, src_key_padding_mask=padding)
        queries = self.queries.to(words).expand(tokens.shape[0], -1, -1)
        read, _ = self.read(queries, words, words, key_padding_mask=padding, need_weights=False)
        read = self.out(read + queries)
        return read[:, :QUERIES], read[:, QUERIES]
