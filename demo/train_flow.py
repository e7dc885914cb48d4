"""Trains the embedded rectified flow, an SD3-class MMDiT of the host's own code, and its text encoder; then reflows it.

    COMFYUI_PATH=... python demo/train_flow.py encode                    # latents and tokens of the scenes
    COMFYUI_PATH=... python demo/train_flow.py teacher --minutes 45
    COMFYUI_PATH=... python demo/train_flow.py pairs --count 5000        # the guided teacher's trajectories, 4 windows
    COMFYUI_PATH=... python demo/train_flow.py reflow --minutes 10
    COMFYUI_PATH=... python demo/train_flow.py export

Pictures of one person and, twice as wide, of two take turns.  z = (1 - sigma) x + sigma noise; the network predicts
v = noise - x at timestep 1000 sigma.  The windows are the host's four steps of its `simple` schedule with SD3's shift
of 3.  Each stage saves its state under demo/cache and resumes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import sys
import time

import numpy as np
import torch
from autoencoder import Autoencoder
from data import CACHE
from safetensors.torch import load_file, save_file
from text_encoder import WIDTH, TextEncoder
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = CACHE.parent / "weights"
DEPTH, TOKENS_ACROSS = 3, 16
KINDS = ("scenes", "couples")  # of training pictures: latents of (16, 16, 16) and (16, 16, 32)
SHIFT, WINDOWS = 3.0, 4
GUIDANCE, STEPS_PER_WINDOW = 2.5, 4
EMPTY = 0.1  # share of empty prompts, so that classifier-free guidance works


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


@torch.no_grad()
def encode() -> None:
    tokenize, model = Tokens(), Autoencoder()
    model.load_state_dict(load_file(WEIGHTS / "autoencoder.safetensors"))
    for kind in KINDS:
        prompts = json.loads((CACHE / f"{kind}.json").read_text())
        tokens = np.array([[tokenize(prompt) for prompt in four] for four in prompts], dtype=np.uint16)
        for four, ids in list(zip(prompts, tokens, strict=True))[:50]:
            assert ids[0].tolist() == tokenize.whole(four[0]), four[0]
        np.save(CACHE / f"{kind}_tokens.npy", tokens)
        pictures, latents = np.load(CACHE / f"{kind}.npy", mmap_mode="r"), []
        for start in range(0, len(pictures), 100):
            x = torch.from_numpy(np.array(pictures[start : start + 100])).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.autocast("cpu", dtype=torch.bfloat16):
                latents.append(((model.encode(x).float() - model.HOST_SHIFT) * model.HOST_SCALE).half())
        latents = torch.cat(latents)
        print(kind, tuple(latents.shape), "mean", latents.float().mean().item(), "std", latents.float().std().item())
        np.save(CACHE / f"{kind}_latents.npy", latents.numpy())


def load_tokens(kind: str) -> Tensor:
    return torch.from_numpy(np.load(CACHE / f"{kind}_tokens.npy").astype(np.int64))


def vocabulary() -> list[int]:
    return sorted({token for kind in KINDS for token in np.unique(load_tokens(kind)).tolist()} - {49407})


EMPTY_TOKENS = torch.tensor([49406] + [49407] * 76)


# --- stages ---------------------------------------------------------------------------------------------------------


class Training:
    """A model, its moving average and its optimizer, saved to demo/cache/NAME.pt every few hundred steps."""

    def __init__(self, name: str, model: Velocity, rate: float, decay: float, minutes: float):
        self.path, self.rate, self.decay, self.minutes = CACHE / f"{name}.pt", rate, decay, minutes
        self.model, self.average = model, copy.deepcopy(model).requires_grad_(False)
        # Muon for the blocks' matrices, which learns this flow in fewer steps; AdamW for everything else
        matrices = [p for name, p in model.flow.joint_blocks.named_parameters() if p.ndim == 2 and "adaLN" not in name]
        others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
        self.optimizers = [
            torch.optim.Muon(matrices, rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, rate, betas=(0.9, 0.99), weight_decay=0.01),
        ]
        self.step, spent = 0, 0.0
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, spent = state["step"], state["spent"]
        model.flow.compile(dynamic=False)  # a fifth faster here
        torch.manual_seed(self.step + 1)
        self.start, self.loss = time.time() - spent, None

    def steps(self):
        while (share := (time.time() - self.start) / (60 * self.minutes)) < 1:
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = self.rate * min(1, self.step / 300) * min(1.0, max(0.02, 2.5 * (1 - share)))
            yield
            if self.step % 100 == 0:
                print(f"{self.step} {share:.1%} {time.time() - self.start:.0f} s loss {self.loss:.4f}", flush=True)
            if self.step % 500 == 0:
                self.save()
        self.save()

    def update(self, loss: Tensor) -> None:
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.loss = loss.item() if self.loss is None else self.loss + 0.02 * (loss.item() - self.loss)
        decay = min(self.decay, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save({**state, "step": self.step, "spent": time.time() - self.start}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)


def load(name: str) -> Velocity:
    model = Velocity(TextEncoder(vocabulary()))
    model.load_state_dict(torch.load(CACHE / f"{name}.pt", weights_only=True)["average"])
    return model.eval().requires_grad_(False)


def teacher(minutes: float, batch: int) -> None:
    tokens = [load_tokens(kind) for kind in KINDS]
    latents = [torch.from_numpy(np.load(CACHE / f"{kind}_latents.npy")) for kind in KINDS]
    torch.manual_seed(0)
    training = Training("teacher", Velocity(TextEncoder(vocabulary())), 1.2e-3, 0.999, minutes)
    for _ in training.steps():
        people = 1 + training.step % 2
        n = batch // people
        at = torch.randint(len(latents[people - 1]), (n,))
        x = latents[people - 1][at].float()
        noise = torch.randn_like(x)
        prompt = tokens[people - 1][at, torch.randint(4, (n,))]
        prompt[torch.rand(n) < EMPTY] = EMPTY_TOKENS
        sigma = shift((torch.rand(1) + torch.arange(n) / n) % 1)  # stratified: every batch sees all noise levels
        level = sigma.view(-1, 1, 1, 1)
        training.update(F.mse_loss(training.model((1 - level) * x + level * noise, sigma, prompt), noise - x))


@torch.no_grad()
def pairs(count: int, batch: int = 100) -> None:
    """Trajectories of the teacher at the window boundaries, (count / people, 5, 16, 16, 16 * people) float16 for one
    person and for two, and their prompts' tokens."""
    model = load("teacher")
    for people, kind in enumerate(KINDS, start=1):
        torch.manual_seed(people)
        tokens, n = load_tokens(kind), batch // people
        states, prompts = [], []
        for done in range(0, count // people, n):
            prompt = tokens[torch.randint(len(tokens), (n,)), torch.randint(4, (n,))]
            empty = torch.rand(n) < EMPTY
            prompt[empty] = EMPTY_TOKENS
            scale = torch.where(empty, 1.0, GUIDANCE).view(-1, 1, 1, 1)
            z = torch.randn(n, 16, 16, 16 * people)
            trajectory = [z.half()]
            for start, end in zip(BOUNDARIES[:-1], BOUNDARIES[1:], strict=True):
                sigmas = torch.linspace(start, end, STEPS_PER_WINDOW + 1)
                for here, there in zip(sigmas[:-1], sigmas[1:], strict=True):
                    both = torch.cat([EMPTY_TOKENS.expand(n, -1), prompt])
                    plain, named = model(torch.cat([z, z]), here.expand(2 * n), both).chunk(2)
                    z = z + (there - here) * (plain + scale * (named - plain))
                trajectory.append(z.half())
            states.append(torch.stack(trajectory, 1))
            prompts.append(prompt)
            print(f"{kind}: {done + n} of {count // people}", flush=True)
        np.save(CACHE / f"{kind}_pairs.npy", torch.cat(states).numpy())
        np.save(CACHE / f"{kind}_pairs_tokens.npy", torch.cat(prompts).numpy().astype(np.uint16))


def reflow(minutes: float, batch: int) -> None:
    states = [torch.from_numpy(np.load(CACHE / f"{kind}_pairs.npy")) for kind in KINDS]
    tokens = [torch.from_numpy(np.load(CACHE / f"{kind}_pairs_tokens.npy").astype(np.int64)) for kind in KINDS]
    training = Training("reflow", load("teacher").requires_grad_(True), 6e-4, 0.999, minutes)
    for _ in training.steps():
        people = 1 + training.step % 2
        n = batch // people
        at, window = torch.randint(len(states[people - 1]), (n,)), torch.arange(n) % WINDOWS
        z0, z1 = states[people - 1][at, window].float(), states[people - 1][at, window + 1].float()
        # half of them at the window's start, where a 4-step sampler looks
        u = torch.rand(n) * (torch.rand(n) < 0.5)
        s0, s1 = BOUNDARIES[window], BOUNDARIES[window + 1]
        place = u.view(-1, 1, 1, 1)
        target = (z1 - z0) / (s1 - s0).view(-1, 1, 1, 1)
        error = training.model(z0 + place * (z1 - z0), s0 + u * (s1 - s0), tokens[people - 1][at]) - target
        training.update(error.square().mean())


@torch.no_grad()
def straightness(model: Velocity, count: int = 100, steps: int = 16) -> dict[str, float]:
    """E |(z_1 - z_0) - v|^2 per number along the flow's own trajectories (Liu et al. 2022), in one piece and within
    the windows, and the distance of the 4-step end from the 64-step end."""
    torch.manual_seed(2)
    tokens = load_tokens("scenes")[-count:, 0]
    z0 = torch.randn(count, 16, 16, 16)

    def euler(sigmas: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        states, velocities = [z0], []
        for here, there in zip(sigmas[:-1], sigmas[1:], strict=True):
            velocities.append(model(states[-1], here.expand(count), tokens))
            states.append(states[-1] + (there - here) * velocities[-1])
        return states, velocities

    inside = torch.cat(
        [torch.linspace(a, b, steps + 1)[:-1] for a, b in zip(BOUNDARIES[:-1], BOUNDARIES[1:], strict=True)]
    )
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
    (WEIGHTS / "straightness.json").write_text(json.dumps(report, indent=1) + "\n")
    model = load("reflow")
    save_file(
        {name: value.half().contiguous() for name, value in model.flow.state_dict().items()},
        WEIGHTS / "flow.safetensors",
    )
    text = {name: value if name == "rows" else value.half() for name, value in model.text.state_dict().items()}
    save_file({name: value.contiguous() for name, value in text.items()}, WEIGHTS / "text_encoder.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=("encode", "teacher", "pairs", "reflow", "export"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--count", type=int, default=8000)
    arguments = parser.parse_args()
    stages = {
        "encode": encode,
        "teacher": lambda: teacher(arguments.minutes, arguments.batch),
        "pairs": lambda: pairs(arguments.count),
        "reflow": lambda: reflow(arguments.minutes, arguments.batch),
        "export": export,
    }
    stages[arguments.stage]()


if __name__ == "__main__":
    main()
