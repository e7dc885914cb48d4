"""An image adapter: the reference's picture as tokens to which each block of the frozen flow attends beside the text,
by keys and values of its own.

Ye et al., IP-Adapter, arXiv 2308.06721.  PhotoMaker (arXiv 2312.04461) and BLIP-Diffusion (arXiv 2305.14720) come to
the same small form here: an encoder of the reference that is trained on many people, whose tokens join the prompt's.
The encoder is the autoencoder's latent and two layers of a transformer, since the world has no large image encoder.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from velocity import DEPTH
from world import PromptedFlow, Triples, World

from rivals.basis import Answer, Clock, People, cache, count, encode, levels, mix, sample, split

WIDTH = 64 * DEPTH
BATCH, RATE, DECAY = 64, 1e-3, 0.999
Tokens = list[tuple[Tensor, Tensor]]  # of each block: keys and values, (B, L, WIDTH)


class Adapter(nn.Module):
    """A reference, its latent (B, 16, 16, 16) and an embedding (B, D) or none -> keys and values for each block."""

    def __init__(self, embedding: int = 0):
        super().__init__()
        self.patches = nn.Linear(64, WIDTH)
        self.places = nn.Parameter(torch.randn(64, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, DEPTH, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.embedding = nn.Linear(embedding, 4 * WIDTH) if embedding else None
        self.keys = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH))
        self.values = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH))
        for value in self.values:  # at first the flow is what it was
            nn.init.zeros_(value.weight)
            nn.init.zeros_(value.bias)

    def forward(self, latent: Tensor, embedding: Tensor | None = None) -> Tokens:
        tokens = self.patches(F.pixel_unshuffle(latent, 2).flatten(2).transpose(1, 2)) + self.places
        if self.embedding is not None:
            tokens = torch.cat([tokens, self.embedding(embedding).unflatten(1, (4, WIDTH))], 1)
        tokens = self.encoder(tokens)
        return [
            (F.rms_norm(_heads(key(tokens)), (64,)), _heads(value(tokens)))
            for key, value in zip(self.keys, self.values, strict=True)
        ]


def _heads(x: Tensor) -> Tensor:
    """(B, L, WIDTH) -> (B, heads, L, 64)."""
    return x.unflatten(2, (DEPTH, 64)).transpose(1, 2)


def adapted(
    flow: nn.Module,
    z: Tensor,
    sigma: Tensor,
    words: tuple[Tensor, Tensor],
    seen: list[tuple[Tokens, Tensor | None]],
    bias: Tensor | None = None,
) -> Tensor:
    """The velocity of the host's MMDiT, each of whose blocks also attends to the tokens.

    words: context (B, T, 192) and pooled (B, 192).
    seen: the tokens of each reference, and how much each place of the picture takes of them, (L, 1); None: all.
    bias: what is added to the logits of the attention of words and places to each other, (T + L, T + L).
    """
    context, pooled = words
    size = z.shape[-2:]
    x = flow.x_embedder(z) + flow.cropped_pos_embed(size)
    c = flow.t_embedder(1000 * sigma, dtype=x.dtype) + flow.y_embedder(pooled)
    context = flow.context_embedder(context)
    for number, block in enumerate(flow.joint_blocks):
        text, text_rest = block.context_block.pre_attention(context, c)
        image, image_rest = block.x_block.pre_attention(x, c)
        q, k, v = (_heads(torch.cat([a, b], 1).flatten(2)) for a, b in zip(text, image, strict=True))
        attention = F.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2)
        of_text, of_image = attention.split([text[0].shape[1], image[0].shape[1]], 1)
        for tokens, share in seen:
            keys, values = (each.to(q) for each in tokens[number])
            of_reference = F.scaled_dot_product_attention(q[:, :, text[0].shape[1] :], keys, values)
            of_reference = of_reference.transpose(1, 2).flatten(2)
            of_image = of_image + (of_reference if share is None else share * of_reference)
        if not block.context_block.pre_only:
            context = block.context_block.post_attention(of_text, *text_rest)
        x = block.x_block.post_attention(of_image, *image_rest)
    return flow.unpatchify(flow.final_layer(x, c), hw=size)


class AdaptedFlow(PromptedFlow):
    """The flow of given prompts, with tokens of references.

    strength: by how much what the tokens change is exaggerated, as classifier-free guidance does; 1: not at all.
    """

    def __init__(
        self, world: World, prompts: list[str], seen: list[tuple[Tokens, Tensor | None]], strength: float, windows: int
    ):
        super().__init__(world, world.tokens(prompts), windows)
        self.seen, self.strength = seen, strength

    def velocity(self, z: Tensor, sigma: Tensor) -> Tensor:
        velocity = adapted(self.flow, z, sigma.expand(len(z)), (self.context, self.pooled), self.seen)
        if self.strength == 1:
            return velocity
        plain = super().velocity(z, sigma)
        return plain + self.strength * (velocity - plain)


def train(world: World, people: People, adapter: Adapter, minutes: float, embeddings: Tensor | None = None) -> Adapter:
    """The moving average of the adapter, after so many minutes of one core on pairs of pictures of one person.

    embeddings: of the pictures, (people, 2, D), for an adapter that takes them.
    """
    flow = copy.deepcopy(world.model.flow)
    average = copy.deepcopy(adapter)
    parameters = list(adapter.parameters())
    optimizer = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.99), weight_decay=0.01)
    torch.manual_seed(7)

    @torch.compile(dynamic=False)
    def loss_of(z, sigma, words, reference, embedding, target):
        return (
            (adapted(flow, z, sigma, words, [(adapter(reference, embedding), None)]).float() - target).square().mean()
        )

    clock, step, shown = Clock(), 0, 0.0
    while (share := clock.seconds / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)
        who, first = torch.randint(len(people.latents), (BATCH,)), torch.randint(2, (BATCH,))
        sigma = levels(BATCH)
        z, target = mix(people.latents[who, 1 - first], sigma)
        embedding = None if embeddings is None else embeddings[who, first]
        with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(z, sigma, split(people.read[who, 1 - first]), people.latents[who, first], embedding, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, shown = step + 1, shown + 0.02 * (loss.item() - shown)
        for mean, value in zip(average.parameters(), parameters, strict=True):
            mean.data.lerp_(value.data, 1 - min(DECAY, (1 + step) / (20 + step)))
        if step % 200 == 0:
            print(f"adapter: {step} {share:.0%} loss {shown:.4f}", flush=True)
    return average.eval().requires_grad_(False)


@dataclass
class IPAdapter:
    minutes: float = 10.0  # of training
    people: int = 12_000
    strength: float = 1.5
    windows: int = 4
    iterations: int = 0
    name: ClassVar[str] = "ip_adapter"
    stands_for: ClassVar[tuple[str, ...]] = ("photomaker", "blip_diffusion")
    sees: ClassVar[bool] = False

    @property
    def _path(self):
        return cache() / f"{self.name}_{self.minutes:g}_{self.people}.pt"

    def learn(self, world: World) -> float:
        if not self._path.exists():
            people, clock = People.load(world, self.people), Clock()
            adapter = train(world, people, Adapter(), self.minutes)
            torch.save({"adapter": adapter.state_dict(), "seconds": clock.seconds}, self._path)
        return torch.load(self._path, weights_only=True)["seconds"]

    def adapter(self, world: World) -> Adapter:
        adapter = Adapter()
        adapter.load_state_dict(torch.load(self._path, weights_only=True)["adapter"])
        return adapter.eval().requires_grad_(False)

    def parameters(self, world: World) -> int:
        return count(self.adapter(world))

    def tokens(self, world: World, references: Tensor) -> Tokens:
        with torch.no_grad():
            return self.adapter(world)(encode(world, references))

    def flow(self, world: World, prompts: list[str], tokens: Tokens) -> AdaptedFlow:
        return AdaptedFlow(world, prompts, [(tokens, None)], self.strength, self.windows)

    def answer(self, world: World, triples: Triples) -> Answer:
        clock = Clock()
        tokens = self.tokens(world, triples.references)
        seen, clock = clock.seconds / len(triples), Clock()
        with torch.no_grad():
            images = world.decode(sample(self.flow(world, triples.prompts, tokens), triples.noise))
        return Answer(images, seen, clock.seconds / len(triples))
