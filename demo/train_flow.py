"""Trains the embedded rectified flow, an SD3-class MMDiT of the host's own code, and its text encoder; then reflows it.

    COMFYUI_PATH=... python demo/train_flow.py text --minutes 4          # the text encoder, which then stays as it is
    COMFYUI_PATH=... python demo/train_flow.py read                      # what the text encoder reads in the prompts
    COMFYUI_PATH=... python demo/train_flow.py encode                    # the pictures' latents
    COMFYUI_PATH=... python demo/train_flow.py teacher --minutes 480
    COMFYUI_PATH=... python demo/train_flow.py pairs --count 5000        # the guided teacher's trajectories, 4 windows
    COMFYUI_PATH=... python demo/train_flow.py reflow --minutes 10
    COMFYUI_PATH=... python demo/train_flow.py export

The teacher goes on from demo/weights where there are any.  One batch in three is of pictures of two people, twice as
wide.  z = (1 - sigma) x + sigma noise; the network predicts v = noise - x at timestep 1000 sigma.  The windows are the
host's four steps of its `simple` schedule with SD3's shift of 3.  Each stage saves its state in the cache and resumes.
Minutes are those of one processor.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import re
import sys
import time

import numpy as np
import torch
from autoencoder import Autoencoder
from data import CACHE, TRAINED, WEIGHTS
from portrait import ATTRIBUTES, parse_prompt
from safetensors.torch import load_file, save_file
from text_encoder import QUERIES, WIDTH, TextEncoder
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEPTH, TOKENS_ACROSS = 3, 16
KINDS = ("scenes", "couples")  # of training pictures: latents of (16, 16, 16) and (16, 16, 32)
SHIFT, WINDOWS = 3.0, 4
GUIDANCE, STEPS_PER_WINDOW = 2.5, 4
EMPTY = 0.1  # share of empty prompts, so that classifier-free guidance works
HELD_BACK = 512  # scenes that no stage trains on, for the validation


def host():
    """The host's modules, imported for the CPU from COMFYUI_PATH."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu", "--use-pytorch-cross-attention"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.ldm.modules.diffusionmodules.mmdit as mmdit
    import comfy.sd1_clip as clip

    sys.argv = arguments
    return mmdit, clip


def shift(t: Tensor) -> Tensor:
    return SHIFT * t / (1 + (SHIFT - 1) * t)


BOUNDARIES = shift(torch.linspace(1, 0, WINDOWS + 1))


def sincos(across: int, width: int) -> Tensor:
    """The usual fixed position table, (1, across^2, width), centered so that 8 x 8 tokens are its middle."""
    place = torch.arange(across, dtype=torch.float64) - across / 2 + 0.5
    rate = 1 / 100 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    wave = torch.cat([torch.sin(place[:, None] * rate), torch.cos(place[:, None] * rate)], 1)
    rows, columns = wave[:, None].expand(across, across, -1), wave[None].expand(across, across, -1)
    return torch.cat([rows, columns], -1).reshape(1, across * across, width).float()


class Velocity(nn.Module):
    """v(z, sigma, prompt): the host's MMDiT and our text encoder, trained together."""

    def __init__(self, text: TextEncoder, autocast: bool = True):
        super().__init__()
        mmdit, _ = host()
        self.autocast = autocast
        self.text = text
        self.flow = mmdit.MMDiT(
            input_size=None,
            patch_size=2,
            in_channels=16,
            depth=DEPTH,
            adm_in_channels=WIDTH,
            context_embedder_config={
                "target": "torch.nn.Linear",
                "params": {"in_features": WIDTH, "out_features": 64 * DEPTH},
            },
            pos_embed_max_size=TOKENS_ACROSS,
            num_patches=TOKENS_ACROSS**2,
            qk_norm="rms",
            operations=nn,
            dtype=torch.float32,
        )
        self.flow.pos_embed.copy_(sincos(TOKENS_ACROSS, 64 * DEPTH))
        for name, parameter in self.flow.named_parameters():
            if "adaLN_modulation" in name or "final_layer.linear" in name:
                nn.init.zeros_(parameter)
            elif ".ln_" in name:
                nn.init.ones_(parameter)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def forward(self, z: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            context, pooled = self.text(tokens)
            return self.flow(z, 1000 * sigma, y=pooled, context=context).float()

    def read(self, z: Tensor, sigma: Tensor, read: Tensor) -> Tensor:
        """The same for what the text encoder has read, (B, 9, 192): the eight context vectors and the pooled one."""
        # plain products: on a CPU the backward of fused attention takes a quarter of a training step
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast), sdpa_kernel(SDPBackend.MATH):
            return self.flow(z, 1000 * sigma, y=read[:, QUERIES], context=read[:, :QUERIES]).float()


# --- data -----------------------------------------------------------------------------------------------------------


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


@torch.no_grad()
def encode(count: int) -> None:
    """The latents of the first pictures, of ``count`` people at most of each kind, ``(N, 16, 16, 16 * people)``
    float16."""
    model = Autoencoder().to(memory_format=torch.channels_last)
    model.load_state_dict(load_file(TRAINED / "autoencoder.safetensors"))
    for kind in (kind for kind in KINDS if not (CACHE / f"{kind}_latents.npy").exists()):
        people = KINDS.index(kind) + 1
        pictures, latents = np.load(CACHE / f"{kind}.npy", mmap_mode="r")[: count // people], []
        for start in range(0, len(pictures), 100):
            x = torch.from_numpy(np.array(pictures[start : start + 100])).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.autocast("cpu", dtype=torch.bfloat16):
                latents.append(((model.encode(x).float() - model.HOST_SHIFT) * model.HOST_SCALE).half())
        latents = torch.cat(latents)
        print(kind, tuple(latents.shape), "mean", latents.float().mean().item(), "std", latents.float().std().item())
        np.save(CACHE / f"{kind}_latents.npy", latents.numpy())


def load_encoded(kind: str) -> tuple[Tensor, Tensor]:
    """Latents, and what the text encoder read in their four prompts."""
    latents, read = (torch.from_numpy(np.load(CACHE / f"{kind}_{name}.npy")) for name in ("latents", "read"))
    return latents, read[: len(latents)]


def text_encoder() -> TextEncoder:
    text = TextEncoder.from_state_dict(load_file(TRAINED / "text_encoder.safetensors"))
    return text.eval().requires_grad_(False)


@torch.no_grad()
def read_nothing(text: TextEncoder) -> Tensor:
    """What is read in an empty prompt, (9, 192)."""
    context, pooled = text(EMPTY_TOKENS[None])
    return torch.cat([context[0], pooled])


# --- the text encoder -----------------------------------------------------------------------------------------------

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


def train_text(minutes: float, batch: int = 128) -> None:
    """The text encoder learns to say what a prompt names, before and apart from the flow, whose error is dominated by
    what large areas look like and would hardly teach it the word for an expression."""
    torch.manual_seed(5)
    tokens = torch.cat([tokenized(kind).flatten(0, 1) for kind in KINDS])
    prompts = [prompt for kind in KINDS for four in json.loads((CACHE / f"{kind}.json").read_text()) for prompt in four]
    text, reading = TextEncoder(sorted(set(tokens.unique().tolist()) - {49407})), Reading()
    parameters = [*text.parameters(), *reading.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01)
    step, start = 0, time.process_time()
    while (share := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 100) * min(1.0, max(0.02, 2 * (1 - share)))
        at = torch.randint(len(tokens), (batch,))
        choices = torch.stack([named_choices(prompts[i]) for i in at.tolist()])
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
    save_text(text)


def save_text(text: TextEncoder) -> None:
    state = {name: value if name == "rows" else value.half() for name, value in text.state_dict().items()}
    TRAINED.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, TRAINED / "text_encoder.safetensors")


# --- stages ---------------------------------------------------------------------------------------------------------


class Training:
    """A model, its moving average and its optimizer, saved to the cache's NAME.pt every few minutes.  The text encoder
    stays as it is."""

    def __init__(self, name: str, model: Velocity, rate: float, decay: float, minutes: float):
        self.path, self.rate, self.decay, self.minutes = CACHE / f"{name}.pt", rate, decay, minutes
        self.model, self.average = model, copy.deepcopy(model.flow).requires_grad_(False)
        # Muon for the blocks' matrices, which learns this flow in fewer steps; AdamW for everything else
        matrices = [p for name, p in model.flow.joint_blocks.named_parameters() if p.ndim == 2 and "adaLN" not in name]
        others = [p for p in model.flow.parameters() if all(p is not matrix for matrix in matrices)]
        self.optimizers = [
            torch.optim.Muon(matrices, rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, rate, betas=(0.9, 0.99), weight_decay=0.01),
        ]
        self.step, self.seen, spent = 0, 0, 0.0
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            model.flow.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.seen, spent = state["step"], state["seen"], state["spent"]
        model.flow.compile(dynamic=False)  # 215 portraits a second instead of 131, with AMX
        torch.manual_seed(self.step + 1)
        self.start, self.loss = time.process_time() - spent, None

    @property
    def spent(self) -> float:
        return time.process_time() - self.start

    def steps(self):
        while (share := self.spent / (60 * self.minutes)) < 1:
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = self.rate * min(1, self.step / 100) * min(1.0, max(0.02, 2.5 * (1 - share)))
            yield
            if self.step % 100 == 0:
                print(
                    f"{self.step} {share:.1%} {self.spent:.0f} s {self.seen} portraits loss {self.loss:.4f}", flush=True
                )
            if self.step % 200 == 0:
                self.save()
        self.save()

    def update(self, loss: Tensor, portraits: int) -> None:
        self.model.flow.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.flow.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step, self.seen = self.step + 1, self.seen + portraits
        self.loss = loss.item() if self.loss is None else self.loss + 0.02 * (loss.item() - self.loss)
        decay = min(self.decay, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.flow.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def save(self) -> None:
        state = {
            "model": self.model.flow.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save({**state, "step": self.step, "seen": self.seen, "spent": self.spent}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)


def load(name: str) -> Velocity:
    model = Velocity(text_encoder())
    model.flow.load_state_dict(torch.load(CACHE / f"{name}.pt", weights_only=True)["average"])
    return model.eval().requires_grad_(False)


def noise_levels(n: int) -> Tensor:
    """Stratified, so that every batch sees all noise levels: three of four logit-normal, where there is most to learn,
    the others uniform, for the ends."""
    u = (torch.rand(1) + torch.randperm(n) / n) % 1
    middle = torch.sigmoid(torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)))
    return shift(torch.where(torch.arange(n) % 4 > 0, middle, u))


@torch.no_grad()
def relearn_text(model: Velocity, earlier: TextEncoder) -> None:
    """Where the text encoder is not the one that the flow knows, the flow starts from hearing the mean of what that one
    said whatever the prompt is; what a new one says would throw it far off."""
    if all(torch.equal(mine, its) for mine, its in zip(model.text.parameters(), earlier.parameters(), strict=True)):
        return
    context, pooled = earlier.eval()(tokenized("scenes")[:500, 0])
    heard = model.flow.context_embedder(context).mean((0, 1)), model.flow.y_embedder(pooled).mean(0)
    for layer, mean in zip((model.flow.context_embedder, model.flow.y_embedder.mlp[2]), heard, strict=True):
        layer.weight.zero_()
        layer.bias.copy_(mean)
    nn.init.xavier_uniform_(model.flow.y_embedder.mlp[0].weight)


def teacher(minutes: float, batch: int) -> None:
    latents, read = zip(*map(load_encoded, KINDS), strict=True)
    torch.manual_seed(0)
    model = Velocity(text_encoder())
    earlier = [WEIGHTS / name for name in ("teacher.safetensors", "flow.safetensors") if (WEIGHTS / name).exists()]
    if earlier:
        model.flow.load_state_dict(load_file(earlier[0]))
        relearn_text(model, TextEncoder.from_state_dict(load_file(WEIGHTS / "text_encoder.safetensors")))
    nothing = read_nothing(model.text)
    training = Training("teacher", model, 8e-4, 0.9995, minutes)
    for _ in training.steps():
        people = 2 if training.step % 3 == 2 else 1
        n = batch // people
        at = torch.randint(len(latents[people - 1]) - HELD_BACK, (n,))
        x = latents[people - 1][at].float()
        noise = torch.randn_like(x)
        prompt = read[people - 1][at, torch.randint(4, (n,))].float()
        prompt[torch.rand(n) < EMPTY] = nothing
        sigma = noise_levels(n)
        level = sigma.view(-1, 1, 1, 1)
        velocity = training.model.read((1 - level) * x + level * noise, sigma, prompt)
        training.update(F.mse_loss(velocity, noise - x), batch)
        if training.step % 1000 == 0:
            training.model.flow, trained = training.average, training.model.flow
            print("held back:", validation(training.model, latents[0][-HELD_BACK:], read[0][-HELD_BACK:]), flush=True)
            training.model.flow = trained


@torch.no_grad()
def validation(model: Velocity, latents: Tensor, read: Tensor) -> dict[str, float]:
    """Mean squared error of the velocity on held back scenes, their whole prompts named: over the noise levels that a
    sampler's equal steps see, and within each of the four windows."""
    n, generator = len(latents), torch.Generator().manual_seed(3)
    x = latents.float()
    noise = torch.randn(x.shape, generator=generator)
    t = (torch.arange(n) + 0.5) / n
    sigma = shift(t)
    level = sigma.view(-1, 1, 1, 1)
    z = (1 - level) * x + level * noise
    error = torch.cat(
        [
            (model.read(a, s, r.float()) - v).square().mean((1, 2, 3))
            for a, s, r, v in zip(*(part.split(64) for part in (z, sigma, read[:, 0], noise - x)), strict=True)
        ]
    )
    windows = error.unflatten(0, (WINDOWS, -1)).mean(1).flip(0)
    return {"all": round(error.mean().item(), 4), "windows": [round(value, 4) for value in windows.tolist()]}


@torch.no_grad()
def pairs(count: int, batch: int = 100) -> None:
    """Trajectories of the teacher at the window boundaries, (count / people, 5, 16, 16, 16 * people) float16 for one
    person and for two, and what was read in their prompts."""
    model = load("teacher")
    nothing = read_nothing(model.text)
    for people, kind in enumerate(KINDS, start=1):
        torch.manual_seed(people)
        read, n = load_encoded(kind)[1], batch // people
        states, prompts = [], []
        for done in range(0, count // people, n):
            prompt = read[torch.randint(len(read), (n,)), torch.randint(4, (n,))].float()
            empty = torch.rand(n) < EMPTY
            prompt[empty] = nothing
            scale = torch.where(empty, 1.0, GUIDANCE).view(-1, 1, 1, 1)
            z = torch.randn(n, 16, 16, 16 * people)
            trajectory = [z.half()]
            for start, end in itertools.pairwise(BOUNDARIES):
                sigmas = torch.linspace(start, end, STEPS_PER_WINDOW + 1)
                for here, there in itertools.pairwise(sigmas):
                    both = torch.cat([nothing.expand(n, -1, -1), prompt])
                    plain, named = model.read(torch.cat([z, z]), here.expand(2 * n), both).chunk(2)
                    z = z + (there - here) * (plain + scale * (named - plain))
                trajectory.append(z.half())
            states.append(torch.stack(trajectory, 1))
            prompts.append(prompt.half())
            print(f"{kind}: {done + n} of {count // people}", flush=True)
        np.save(CACHE / f"{kind}_pairs.npy", torch.cat(states).numpy())
        np.save(CACHE / f"{kind}_pairs_read.npy", torch.cat(prompts).numpy())


def reflow(minutes: float, batch: int) -> None:
    states = [torch.from_numpy(np.load(CACHE / f"{kind}_pairs.npy")) for kind in KINDS]
    read = [torch.from_numpy(np.load(CACHE / f"{kind}_pairs_read.npy")) for kind in KINDS]
    model = load("teacher")
    model.flow.requires_grad_(True)
    training = Training("reflow", model, 6e-4, 0.999, minutes)
    for _ in training.steps():
        people = 2 if training.step % 3 == 2 else 1
        n = batch // people
        at, window = torch.randint(len(states[people - 1]), (n,)), torch.arange(n) % WINDOWS
        z0, z1 = states[people - 1][at, window].float(), states[people - 1][at, window + 1].float()
        # half of them at the window's start, where a 4-step sampler looks
        u = torch.rand(n) * (torch.rand(n) < 0.5)
        s0, s1 = BOUNDARIES[window], BOUNDARIES[window + 1]
        place = u.view(-1, 1, 1, 1)
        target = (z1 - z0) / (s1 - s0).view(-1, 1, 1, 1)
        error = training.model.read(z0 + place * (z1 - z0), s0 + u * (s1 - s0), read[people - 1][at].float()) - target
        training.update(error.square().mean(), batch)


@torch.no_grad()
def straightness(model: Velocity, count: int = 100, steps: int = 16) -> dict[str, float]:
    """E |(z_1 - z_0) - v|^2 per number along the flow's own trajectories (Liu et al. 2022), in one piece and within
    the windows, and the distance of the 4-step end from the 64-step end."""
    torch.manual_seed(2)
    read = load_encoded("scenes")[1][-count:, 0].float()
    z0 = torch.randn(count, 16, 16, 16)

    def euler(sigmas: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        states, velocities = [z0], []
        for here, there in itertools.pairwise(sigmas):
            velocities.append(model.read(states[-1], here.expand(count), read))
            states.append(states[-1] + (there - here) * velocities[-1])
        return states, velocities

    inside = torch.cat([torch.linspace(a, b, steps + 1)[:-1] for a, b in itertools.pairwise(BOUNDARIES)])
    sigmas = torch.cat([inside, torch.zeros(1)])
    states, velocities = euler(sigmas)
    whole, windows, length = 0.0, 0.0, sigmas[:-1] - sigmas[1:]
    for i, velocity in enumerate(velocities):
        k = i // steps * steps
        window = (states[k] - states[k + steps]) / (sigmas[k] - sigmas[k + steps])
        whole += (length[i] * (z0 - states[-1] - velocity).square().mean()).item()
        windows += (length[i] * (window - velocity).square().mean()).item()
    few, _ = euler(BOUNDARIES)
    return {"whole": whole, "windows": windows, "four_step_error": (few[-1] - states[-1]).square().mean().item()}


def export() -> None:
    report = {name: straightness(load(name)) for name in ("teacher", "reflow")}
    print(json.dumps(report, indent=1))
    (TRAINED / "straightness.json").write_text(json.dumps(report, indent=1) + "\n")
    model = load("reflow")
    save_file(
        {name: value.half().contiguous() for name, value in model.flow.state_dict().items()},
        TRAINED / "flow.safetensors",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=("text", "read", "encode", "teacher", "pairs", "reflow", "export"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--count", type=int, default=10**6, help="people to encode, or to draw trajectories of")
    arguments = parser.parse_args()
    stages = {
        "text": lambda: train_text(arguments.minutes),
        "read": lambda: read_prompts(arguments.count),
        "encode": lambda: encode(arguments.count),
        "teacher": lambda: teacher(arguments.minutes, arguments.batch),
        "pairs": lambda: pairs(arguments.count),
        "reflow": lambda: reflow(arguments.minutes, arguments.batch),
        "export": export,
    }
    stages[arguments.stage]()


if __name__ == "__main__":
    main()
