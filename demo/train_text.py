"""Trains the embedded text encoder, and writes down what it reads in the prompts of the training pictures.

    COMFYUI_PATH=... python demo/train_text.py train --minutes 4         # the text encoder, which then stays as it is
    COMFYUI_PATH=... python demo/train_text.py read                      # what it reads in the prompts

It learns before and apart from the flow.  Minutes are those of one processor.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable

import numpy as np
import torch
from data import CACHE, TRAINED
from portrait import ATTRIBUTES, parse_prompt
from safetensors.torch import load_file, save_file
from text_encoder import WIDTH, TextEncoder
from torch import Tensor, nn
from torch.nn import functional as F
from velocity import host

KINDS = ("scenes", "couples")  # of training pictures: latents of (16, 16, 16) and (16, 16, 32)


class Tokens:
    """The host's CLIP tokens of a prompt, by word, for the words of this world repeat."""

    def __init__(self):
        _, clip = host()
        self.tokenizer = clip.SDTokenizer()
        self.words: dict[str, list[int]] = {}

    def whole(self, prompt: str) -> list[int]:
        return [token for token, _ in self.tokenizer.tokenize_with_weights(prompt)[0]]

    def __call__(self, prompt: str) -> list[int]:
        ids = [49406]
        for word in re.findall(r"\w+|,", prompt):
            if word not in self.words:
                self.words[word] = [token for token in self.whole(word) if token < 49406]
            ids += self.words[word]
        return ids + [49407] * (77 - len(ids))


EMPTY_TOKENS = torch.tensor([49406] + [49407] * 76)


def tokenized(kind: str) -> Tensor:
    """The tokens of all prompts of that kind of pictures, (N, 4, 77)."""
    path, tokenize = CACHE / f"{kind}_tokens.npy", Tokens()
    if not path.exists():
        prompts = json.loads((CACHE / f"{kind}.json").read_text())
        for four in prompts[:50]:
            assert tokenize(four[0]) == tokenize.whole(four[0]), four[0]
        np.save(path, np.array([[tokenize(prompt) for prompt in four] for four in prompts], dtype=np.uint16))
    return torch.from_numpy(np.load(path).astype(np.int64))


def text_encoder() -> TextEncoder:
    text = TextEncoder.from_state_dict(load_file(TRAINED / "text_encoder.safetensors"))
    return text.eval().requires_grad_(False)


@torch.no_grad()
def read_nothing(text: TextEncoder) -> Tensor:
    """What is read in an empty prompt, (9, 192)."""
    context, pooled = text(EMPTY_TOKENS[None])
    return torch.cat([context[0], pooled])


@torch.no_grad()
def read_prompts(count: int) -> None:
    """What the text encoder reads in the prompts of the first pictures, ``(N, 4, 9, 192)`` float16."""
    text = text_encoder()
    for people, kind in enumerate(KINDS, start=1):
        unique, where = tokenized(kind)[: count // people].flatten(0, 1).unique(dim=0, return_inverse=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts = [torch.cat([context, pooled[:, None]], 1) for context, pooled in map(text, unique.split(500))]
        read = torch.cat([part.half() for part in parts])
        np.save(CACHE / f"{kind}_read.npy", read[where].unflatten(0, (-1, 4)).numpy())


# --- training -------------------------------------------------------------------------------------------------------

# what each of the eight context vectors is there for: names of attributes of the left person, of the right, of both
SLOTS = (
    *((person, (name,)) for person in (0, 1) for name in ("expression", "hat", "shirt")),
    (0, ("background",)),
    (0, ("position", "light")),
)


def named_choices(prompt: str) -> Tensor:
    """What a prompt names, in the order of SLOTS: 0 for nothing, or else the choice's number from 1, (9,)."""
    people = prompt.split(" next to ")
    place = parse_prompt(prompt)
    named = [parse_prompt(person) for person in people] + [{}] * (2 - len(people))
    choices = []
    for person, names in SLOTS:
        for name in names:
            value = (named[person] if name in ("expression", "hat", "shirt") else place).get(name)
            choices.append(0 if value is None else 1 + ATTRIBUTES[name].index(value))
    return torch.tensor(choices)


class Reading(nn.Module):
    """Linear readings of what the text encoder gives: each context vector of its slot, the pooled one of all."""

    def __init__(self):
        super().__init__()
        sizes = [[1 + len(ATTRIBUTES[name]) for name in names] for _, names in SLOTS]
        self.slots = nn.ModuleList(nn.Linear(WIDTH, sum(slot)) for slot in sizes)
        self.pooled = nn.Linear(WIDTH, sum(map(sum, sizes)))
        self.sizes = [size for slot in sizes for size in slot]

    def forward(self, context: Tensor, pooled: Tensor) -> list[tuple[Tensor, ...]]:
        read = torch.cat([slot(context[:, i]) for i, slot in enumerate(self.slots)], 1)
        return [read.split(self.sizes, 1), self.pooled(pooled).split(self.sizes, 1)]


def train_text(minutes: float) -> None:
    """The text encoder learns to say what a prompt names, before and apart from the flow, whose error is dominated by
    what large areas look like and would hardly teach it the word for an expression."""
    torch.manual_seed(5)
    tokens = torch.cat([tokenized(kind).flatten(0, 1) for kind in KINDS])
    prompts = [prompt for kind in KINDS for four in json.loads((CACHE / f"{kind}.json").read_text()) for prompt in four]
    text = TextEncoder(vocabulary(tokens))
    learn_to_name(
        text, Reading(), tokens, lambda at: torch.stack([named_choices(prompts[i]) for i in at.tolist()]), minutes
    )
    save_text(text)


def vocabulary(tokens: Tensor) -> list[int]:
    """All that occur but the end's."""
    return sorted(set(tokens.unique().tolist()) - {49407})


def learn_to_name(
    text: TextEncoder,
    reading: nn.Module,
    tokens: Tensor,
    choices_of: Callable[[Tensor], Tensor],
    minutes: float,
    batch: int = 128,
) -> None:
    """Until the linear ``reading`` of what it says of the prompts names what they do; choices_of: of prompts, by their
    numbers, the number of each choice, 0 for what is not named."""
    parameters = [*text.parameters(), *reading.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01)
    step, start = 0, time.process_time()
    while (share := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 100) * min(1.0, max(0.02, 2 * (1 - share)))
        at = torch.randint(len(tokens), (batch,))
        choices = choices_of(at)
        logits = reading(*text(tokens[at]))
        loss = sum(F.cross_entropy(group, choices[:, i]) for each in logits for i, group in enumerate(each))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            wrong = sum((group.argmax(1) != choices[:, i]).sum().item() for i, group in enumerate(logits[1]))
            print(f"{step} {share:.0%} loss {loss.item():.4f}, {wrong} of {choices.numel()} wrong", flush=True)


def save_text(text: TextEncoder) -> None:
    state = {name: value if name == "rows" else value.half() for name, value in text.state_dict().items()}
    TRAINED.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, TRAINED / "text_encoder.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=("train", "read"))
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--count", type=int, default=10**6, help="people whose prompts are read")
    arguments = parser.parse_args()
    if arguments.stage == "train":
        train_text(arguments.minutes)
    else:
        read_prompts(arguments.count)


if __name__ == "__main__":
    main()
