"""The prompts of a soak: good ones, bad ones, cancelled ones, and such as run out of memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Prompt = dict[str, dict]
SAMPLER = "sampler"
PEOPLE = range(5_000_001, 5_000_009)


@dataclass(frozen=True)
class Job:
    """What a prompt is to lead to.

    kind: for the figures, such as "good: guided".
    refused: words of the message with which it is to end; None where it is to end well, "" where either is right.
    cancel: whether it is to be cancelled while it runs.
    """

    kind: str
    prompt: Prompt
    refused: str | None = None
    cancel: bool = False


def node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def plain() -> Prompt:
    """A KSampler of the host's on the embedded model, always the same; what it draws must always be the same, too."""
    return {
        **_model("a smiling person in a red hat"),
        "latent": node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
        "ksampler": node(
            "KSampler",
            model=["model", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=7,
            steps=4,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "decoded": node("VAEDecode", samples=["ksampler", 0], vae=["model", 2]),
        "plain": node("PreviewImage", images=["decoded", 0]),
        "loaded": node("TestCountModels", after=["decoded", 0]),
    }


def _model(text: str) -> Prompt:
    return {
        "model": node("LoadDemoModel"),
        "positive": node("CLIPTextEncode", text=text, clip=["model", 1]),
        "negative": node("CLIPTextEncode", text="", clip=["model", 1]),
    }


def guided(random: random.Random, **changes: object) -> Prompt:
    """A guided picture of a person, by random settings."""
    drawn = node(
        "AnchoredRectifiedSampler",
        model=["model", 0],
        positive=["positive", 0],
        negative=["negative", 0],
        latent_image=["latent", 0],
        vae=["model", 2],
        guidance=["identity", 0],
        settings=["settings", 0],
        seed=random.randrange(2**32),
        steps=2,
        cfg=1.0,
        scheduler="simple",
        denoise=1.0,
        iterations=1,
        guidance_scale=1.0,
        stop_at_similarity=1.0,
        if_missing="error",
    )
    drawn["inputs"] |= changes
    return {
        **_model(random.choice(["a sad person, green background", "a smiling person in a red hat", "a person"])),
        "latent": node("EmptySD3LatentImage", width=64, height=64, batch_size=random.choice([1, 1, 1, 2])),
        "reference": node("DrawDemoPortrait", identity=random.choice(PEOPLE), prompt="a person"),
        "discriminator": node("LoadDemoDiscriminator"),
        "identity": encode("reference"),
        "settings": settings(),
        SAMPLER: drawn,
        "shown": node("PreviewImage", images=[SAMPLER, 1]),
    }


def encode(reference: str) -> dict:
    return node(
        "EncodeReferenceIdentity",
        discriminator=["discriminator", 0],
        images=[reference, 0],
        which="only",
        index=0,
        text="",
        matching="mean",
        weights="",
    )


def settings(**changes: object) -> dict:
    values = {
        "preset": "custom",
        "update_rule": "anchored",
        "views": 1,
        "gradient": "auto",
        "last_offset": True,
        "keep": "best",
        "scale_unit": "latent",
        "family": "auto",
        "preview": "auto",
        "candidates": 1,
        "restarts": 0,
    }
    return node("AnchoredSamplerSettings", **values | changes)


def good(random: random.Random) -> Job:
    prompt = guided(random)
    kind = random.choice(
        ["guided", "two people", "saved", "exact gradient", "plotted", "found seed", "models sent away"]
    )
    if kind == "two people":
        prompt["other"] = node("DrawDemoPortrait", identity=random.choice(PEOPLE), prompt="a person")
        prompt["other identity"] = encode("other")
        weights = {f"weight_{number}": 1.0 for number in range(1, 5)}
        prompt["both"] = node(
            "CombineGuidance", guidance_1=["identity", 0], guidance_2=["other identity", 0], **weights
        )
        prompt["latent"]["inputs"] |= {"width": 128, "batch_size": 1}
        prompt[SAMPLER]["inputs"] |= {"guidance": ["both", 0], "if_missing": "unguided"}
    elif kind == "saved":
        prompt["saved"] = node("SaveIdentity", identity=["identity", 0], filename_prefix="soak/person")
        prompt["measured"] = node("MeasureIdentity", images=[SAMPLER, 1], identity=["identity", 0])
    elif kind == "exact gradient":
        gradient = random.choice(["exact", "windowed", "full", "checkpointed", "conditional"])
        prompt["settings"] = settings(gradient=gradient, update_rule=random.choice(["accumulated", "fixed_point"]))
    elif kind == "plotted":
        prompt["plot"] = node("PlotConvergence", report=[SAMPLER, 2], every=1)
        prompt["plotted"] = node("PreviewImage", images=["plot", 0])
    elif kind == "found seed":
        inputs = prompt[SAMPLER]["inputs"]
        names = ("model positive negative latent_image vae guidance settings steps cfg scheduler denoise").split()
        prompt["seed"] = node("FindSeed", **{name: inputs[name] for name in names}, seed=inputs["seed"], count=2)
        inputs["seed"] = ["seed", 0]
    elif kind == "models sent away":
        prompt["away"] = node("TestUnload", value=["identity", 0])
        prompt[SAMPLER]["inputs"]["guidance"] = ["away", 0]
    return Job(f"good: {kind}", prompt)


def bad(random: random.Random) -> Job:
    prompt = guided(random)
    kind, refused = random.choice(list(BAD.items()))
    change, words = refused
    change(prompt)
    return Job(f"bad: {kind}", prompt, words)


def _broken_file(prompt: Prompt) -> None:
    inputs = {"discriminator": "truncated.onnx", "input_size": 64, "mean": 0.5, "std": 0.5, "channel_order": "rgb"}
    prompt["discriminator"] = node("LoadEmbeddingDiscriminator", **inputs, left=0.0, top=0.0, right=1.0, bottom=1.0)


def _junk(target: str, name: str, key: str) -> Callable[[Prompt], None]:
    def change(prompt: Prompt) -> None:
        prompt["junk"] = node("TestGive", key=key)
        prompt[target]["inputs"][name] = ["junk", 0]

    return change


def _value(target: str, name: str, value: object) -> Callable[[Prompt], None]:
    return lambda prompt: prompt[target]["inputs"].update({name: value})


BAD: dict[str, tuple[Callable[[Prompt], None], str]] = {
    "a broken file": (_broken_file, "truncated.onnx"),
    "a weight that is no number": (_value("identity", "weights", "much"), "not numbers with commas"),
    "nan in the reference": (_junk("identity", "images", "nan image"), "nan or infinite"),
    "a latent of another model": (_junk(SAMPLER, "latent_image", "latent of another model"), "channels"),
    "nothing for a model": (_junk(SAMPLER, "model", "nothing"), "a model"),
    "a rule that is none": (_value("settings", "update_rule", "nope"), "update_rule"),
    "too many iterations": (_value(SAMPLER, "iterations", 10**6), "iterations"),
}


def cancelled(random: random.Random) -> Job:
    return Job("cancelled", guided(random, iterations=1000), cancel=True)


def out_of_memory(random: random.Random) -> Job:
    """In the model, the decoder or the recogniser, as it is loaded, forward or backward."""
    prompt = guided(random)
    prompt["settings"] = settings(gradient=random.choice(["auto", "exact"]))
    part = random.choice(["Model", "VAE", "Discriminator"])
    phase = random.choice(["load", "forward", "backward"] if part == "Model" else ["forward", "backward"])
    name, source = {"Model": ("model", ["model", 0]), "VAE": ("vae", ["model", 2])}.get(
        part, ("discriminator", ["discriminator", 0])
    )
    prompt["faulty"] = node(
        f"TestFaulty{part}", **{name: source}, phase=phase, after=0 if phase == "load" else random.randrange(3)
    )
    (prompt["identity"] if part == "Discriminator" else prompt[SAMPLER])["inputs"][name] = ["faulty", 0]
    return Job(f"out of memory: {part}, {phase}", prompt, "")


def mixed(seed: int = 0):
    """Jobs without end, by chance: of ten about six good ones, two bad, one cancelled and one out of memory."""
    chance = random.Random(seed)
    kinds = [good] * 6 + [bad] * 2 + [cancelled, out_of_memory]
    while True:
        yield chance.choice(kinds)(chance)
