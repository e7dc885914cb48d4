"""Trains the embedded rectified flow, an SD3-class MMDiT of the host's own code, and then reflows it.

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
import time

import numpy as np
import torch
from autoencoder import Autoencoder
from data import CACHE, TRAINED, WEIGHTS
from safetensors.torch import load_file, save_file
from text_encoder import TextEncoder
from torch import Tensor, nn
from torch.nn import functional as F
from train_text import KINDS, read_nothing, text_encoder, tokenized
from velocity import BOUNDARIES, WINDOWS, Velocity, shift

GUIDANCE, STEPS_PER_WINDOW = 2.5, 4
EMPTY = 0.1  # share of empty prompts, so that classifier-free guidance works
HELD_BACK = 512  # scenes that no stage trains on, for the validation


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
    model.flow.compile(dynamic=False)
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
    parser.add_argument("stage", choices=("encode", "teacher", "pairs", "reflow", "export"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--count", type=int, default=10**6, help="people to encode, or to draw trajectories of")
    arguments = parser.parse_args()
    stages = {
        "encode": lambda: encode(arguments.count),
        "teacher": lambda: teacher(arguments.minutes, arguments.batch),
        "pairs": lambda: pairs(arguments.count),
        "reflow": lambda: reflow(arguments.minutes, arguments.batch),
        "export": export,
    }
    stages[arguments.stage]()


if __name__ == "__main__":
    main()
