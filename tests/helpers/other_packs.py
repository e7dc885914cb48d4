"""What other packs' nodes put before the sampler, with the smallest random weights that their own loaders take."""

from __future__ import annotations

import importlib
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import comfy.clip_vision
import comfy.sd
import folder_paths
import numpy as np
import pytest
import torch
from comfy.text_encoders.sa_t5 import T5BaseModel

import nodes as host_nodes

from .compositions import SIDE, Composition, clip_vision_output, lora_file, noise, redux, start, unet_control
from .face_packs import write_recogniser
from .families import filled
from .jobs import flow_state
from .places import shared
from .portraits import PORTRAITS, portrait

CONTEXT, WIDTH = 768, 320  # of the small UNet
CFG = {"cfg": 3.0}


def module(packs: Path, folder: str, name: str) -> ModuleType:
    """A pack's module; its entry point, which may want a running server, is left out."""
    if not (packs / folder).is_dir():
        pytest.skip(f"{folder} is not in {packs}")
    package = f"another_pack_{folder.replace('-', '_')}"
    if package not in sys.modules:
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(packs / folder)]
    with suppress(ModuleNotFoundError):
        return importlib.import_module(f"{package}.{name}")
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as missing:
        pytest.skip(f"{folder} wants {missing.name}")


def key_values(*numbers: int) -> dict[str, torch.Tensor]:
    """The layers of an adapter that make keys and values of its tokens, for these of the UNet's attentions."""
    return {
        f"{number}.to_{kind}_ip.weight": 0.1 * noise(WIDTH, CONTEXT, seed=number)
        for number in numbers
        for kind in ("k", "v")
    }


def sees_pictures(folder: Path) -> comfy.clip_vision.ClipVisionModel:
    """A narrow CLIPVision of 224 x 224 pixels, the size that an adapter hands it."""
    config = {
        "hidden_act": "quick_gelu",
        "hidden_size": 32,
        "image_size": 224,
        "intermediate_size": 64,
        "model_type": "clip_vision_model",
        "num_attention_heads": 2,
        "num_channels": 3,
        "num_hidden_layers": 3,
        "patch_size": 14,
        "projection_dim": 16,
    }
    path = folder / "clip_vision_224.json"
    path.write_text(json.dumps(config))
    seer = comfy.clip_vision.ClipVisionModel(path)
    seer.load_sd(filled(seer.model))
    return seer


def a_face() -> torch.Tensor:
    """A picture of nobody, as a node hands it on."""
    return portrait(next(iter(PORTRAITS))).movedim(0, -1)[None]


def finds_faces(folder: Path):
    """insightface's own object: a real detector, and a recogniser of random weights."""
    app = pytest.importorskip("insightface.app")
    models = folder / "models" / "antelopev2"
    models.mkdir(parents=True, exist_ok=True)
    (models / "det.onnx").write_bytes(shared("models/scrfd_2.5g_bnkps.onnx").read_bytes())
    write_recogniser(models / "rec.onnx", width=512)
    analysis = app.FaceAnalysis(name="antelopev2", root=str(folder), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=0, det_size=(640, 640))
    return analysis


# --- IPAdapter


def adapter_file(monkeypatch, folder: Path, name: str, state: dict) -> str:
    torch.save(state, folder / name)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(folder)], {".bin", ".safetensors"}))
    return name


def put_ipadapter_plus(job, files):
    pack = module(files.packs, "ComfyUI_IPAdapter_plus", "IPAdapterPlus")
    resampler = pack.Resampler(
        dim=CONTEXT, depth=4, dim_head=64, heads=12, num_queries=16, embedding_dim=32, output_dim=CONTEXT, ff_mult=4
    )
    state = {"image_proj": filled(resampler), "ip_adapter": key_values(*range(1, 32, 2))}
    adapter = loaded_adapter(files, pack, "plus.bin", state)
    mask = torch.linspace(0.2, 1, SIDE).expand(1, SIDE, SIDE)
    job.model = pack.IPAdapterAdvanced().apply_ipadapter(
        job.model, adapter, weight=0.8, image=a_face(), clip_vision=sees_pictures(files.loras), attn_mask=mask
    )[0]


def put_ipadapter_faceid(job, files):
    pack = module(files.packs, "ComfyUI_IPAdapter_plus", "IPAdapterPlus")
    projection = pack.MLPProjModelFaceId(cross_attention_dim=CONTEXT, id_embeddings_dim=512, num_tokens=4)
    marks = {"0.to_q_lora.down.weight": noise(4, WIDTH)}  # by which the pack tells a FaceID model
    state = {"image_proj": filled(projection), "ip_adapter": {**key_values(*range(1, 32, 2)), **marks}}
    put_faceid(job, files, loaded_adapter(files, pack, "faceid.bin", state))


def faceid_plus(files) -> dict:
    """An adapter of the kind FaceID Plus v2, as its loader gives it."""
    pack = module(files.packs, "ComfyUI_IPAdapter_plus", "IPAdapterPlus")
    projection = pack.ProjModelFaceIdPlus(
        cross_attention_dim=CONTEXT, id_embeddings_dim=512, clip_embeddings_dim=32, num_tokens=4
    )
    marks = {"0.to_q_lora.down.weight": noise(4, WIDTH)}
    state = {"image_proj": filled(projection), "ip_adapter": {**key_values(*range(1, 32, 2)), **marks}}
    return loaded_adapter(files, pack, "faceid_plusv2.bin", state)


def loaded_adapter(files, pack, name, state):
    name = adapter_file(files.monkeypatch, files.loras, name, state)
    return pack.IPAdapterModelLoader().load_ipadapter_model(name)[0]


def put_ipadapter_faceid_plus(job, files):
    put_faceid(job, files, faceid_plus(files))


def put_faceid(job, files, adapter):
    pack = module(files.packs, "ComfyUI_IPAdapter_plus", "IPAdapterPlus")
    job.model = pack.IPAdapterFaceID().apply_ipadapter(
        job.model,
        adapter,
        weight=0.8,
        weight_faceidv2=1.0,
        image=a_face(),
        clip_vision=sees_pictures(files.loras),
        insightface=finds_faces(files.loras),
        embeds_scaling="K+V",
    )[0]


# --- InstantID and PuLID, which know the attentions of SDXL: two of them are also in the small UNet


SDXL = (1, 49, 69, 121)


def instantid_model(files):
    """What its loader gives."""
    pack = module(files.packs, "ComfyUI_InstantID", "InstantID")
    resampler = pack.Resampler(
        dim=1280, depth=4, dim_head=64, heads=20, num_queries=16, embedding_dim=512, output_dim=CONTEXT, ff_mult=4
    )
    torch.save({"image_proj": filled(resampler), "ip_adapter": key_values(*SDXL)}, files.loras / "ip-adapter.bin")
    files.monkeypatch.setitem(folder_paths.folder_names_and_paths, "instantid", ([str(files.loras)], {".bin"}))
    return pack.InstantIDModelLoader().load_model("ip-adapter.bin")[0]


def put_instantid(job, files):
    pack = module(files.packs, "ComfyUI_InstantID", "InstantID")
    job.model, job.positive, job.negative = pack.ApplyInstantID().apply_instantid(
        instantid_model(files),
        finds_faces(files.loras),
        unet_control(),
        a_face(),
        job.model,
        job.positive,
        job.negative,
        start_at=0.0,
        end_at=1.0,
        weight=0.8,
    )


def pulid_model(files):
    """What its loader gives."""
    pack = module(files.packs, "PuLID_ComfyUI", "pulid")
    file = files.packs_cache / "pulid.bin"
    encoder = pack.IDEncoder(context_dim=2048)
    if not file.exists():
        torch.save({"image_proj": filled(encoder), "ip_adapter": pulid_key_values()}, file)
    folders = ([str(files.packs_cache)], {".bin"})
    files.monkeypatch.setitem(folder_paths.folder_names_and_paths, "pulid", folders)
    return pack.PulidModelLoader().load_model(file.name)[0]


def with_pulid(files, model, pulid, method, weight, start_at=0.0, end_at=1.0, mask=None):
    """The model as *Apply PuLID* patches it; what reads a face there are downloads, and random numbers here."""
    pack = module(files.packs, "PuLID_ComfyUI", "pulid")
    face, layers = noise(1, 1280), [noise(1, 577, 1024, seed=layer) for layer in range(5)]
    sampling = model.get_model_object("model_sampling")
    settings = {
        "pulid": pulid,
        "weight": weight,
        "cond": pulid.get_image_embeds(face, layers),
        "uncond": pulid.get_image_embeds(face * 0, [layer * 0 for layer in layers]),
        "sigma_start": sampling.percent_to_sigma(start_at),
        "sigma_end": sampling.percent_to_sigma(end_at),
        "ortho": method == "style",
        "ortho_v2": method == "fidelity",
        "mask": mask,
    }
    model = model.clone()
    for number, place in ((49, ("output", 0, 0)), (69, ("output", 1, 0))):
        pack.set_model_patch_replace(model, {**settings, "module_key": str(number)}, place)
    return model


def put_pulid(method):
    def put(job, files):
        mask = torch.linspace(0.2, 1, SIDE).expand(1, SIDE, SIDE)
        job.model = with_pulid(files, job.model, pulid_model(files), method, 0.8, mask=mask)

    return put


def pulid_key_values():
    return {
        f"{number}.to_{kind}_ip.weight": 0.1 * noise(WIDTH, 2048, seed=number) for number in SDXL for kind in ("k", "v")
    }


# --- GGUF


def q4_k(rows: int, columns: int, generator: np.random.Generator) -> np.ndarray:
    """Blocks of 256 numbers: a scale, the scale of the minima, 12 bytes of scales and minima, and half a byte each."""
    blocks = generator.integers(0, 256, (rows * columns // 256, 144), dtype=np.uint8)
    blocks[:, :4] = np.array([2e-4, 7.5 * 2e-4], np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


def q6_k(rows: int, columns: int, generator: np.random.Generator) -> np.ndarray:
    """Blocks of 256 numbers: 6 bits each, 16 bytes of scales, and their scale."""
    blocks = generator.integers(0, 256, (rows * columns // 256, 210), dtype=np.uint8)
    blocks[:, 208:] = np.array([3e-5], np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


def write_gguf(file: Path, arch: str, state: dict[str, torch.Tensor], kind: str) -> None:
    """The larger matrices of the blocks are of this kind; of the K-quants any bytes are random weights."""
    gguf = pytest.importorskip("gguf")
    number, generator = gguf.GGMLQuantizationType[kind], np.random.default_rng(7)
    writer = gguf.GGUFWriter(file, arch=arch)
    quantised = 0
    for name, tensor in state.items():
        weight = tensor.numpy()
        if weight.ndim == 2 and weight.shape[1] % 256 == 0 and re.search("block|blk|token_embd", name):
            quantised += 1
            if kind == "Q8_0":
                weight = gguf.quants.quantize(weight, number)
            else:
                weight = {"Q4_K": q4_k, "Q6_K": q6_k}[kind](*weight.shape, generator)
            writer.add_tensor(name, weight, raw_dtype=number)
        else:
            writer.add_tensor(name, weight)
    assert quantised > 8
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def put_gguf(kind):
    """An SD3 of four blocks, whose larger matrices are of this kind."""

    def put(job, files):
        pack = module(files.packs, "ComfyUI-GGUF", "nodes")
        file = files.loras / f"{kind}.gguf"
        write_gguf(file, "sd3", flow_state(depth=4), kind)
        for folder in ("unet", "diffusion_models", "unet_gguf"):
            files.monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(files.loras)], {".gguf"}))
        (job.model,) = pack.UnetLoaderGGUF().load_unet(file.name)

    return put


def put_gguf_text(job, files):
    """A T5 base, the smallest encoder that the loader takes: the host takes the widths of each for granted."""
    pack = module(files.packs, "ComfyUI-GGUF", "nodes")
    names = module(files.packs, "ComfyUI-GGUF", "loader").T5_SD_MAP
    file = files.packs_cache / "t5_base.gguf"
    if not file.exists():
        state = filled(T5BaseModel(dtype=torch.float32).transformer)
        for in_file, in_host in names.items():
            state = {name.replace(in_host, in_file): weight for name, weight in state.items()}
        write_gguf(file, "t5", state, "Q4_K")
    for folder in ("text_encoders", "clip_gguf"):
        files.monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(file.parent)], {".gguf"}))
    (clip,) = pack.CLIPLoaderGGUF().load_clip(file.name, "stable_audio")
    job.positive, job.negative = (host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a red hat", ""))


# --- KJNodes


def put_cfg_zero_star(job, files):
    pack = module(files.packs, "ComfyUI-KJNodes", "nodes.model_optimization_nodes")
    (job.model,) = pack.CFGZeroStarAndInit().patch(job.model, True, 0)


def put_differential_diffusion(job, files):
    pack = module(files.packs, "ComfyUI-KJNodes", "nodes.nodes")
    mask = torch.linspace(0.2, 1, SIDE).expand(1, SIDE, SIDE)
    job.model, job.latent = pack.DifferentialDiffusionAdvanced().apply(job.model, {"samples": start(job)}, mask, 1.0)


def put_block_lora(job, files):
    pack = module(files.packs, "ComfyUI-KJNodes", "nodes.nodes")
    (blocks,) = pack.FluxBlockLoraSelect().load_lora(**{"double_blocks.0.": 1.5, "single_blocks.0.": 0.0})
    file = files.loras / lora_file(job, files.loras)
    job.model, _ = pack.DiTBlockLoraLoader().load_lora(job.model, 0.8, opt_lora_path=str(file), blocks=blocks)


def put_redux_with_a_strength(job, files):
    pack = module(files.packs, "ComfyUI-KJNodes", "nodes.nodes")
    style = redux()
    style.load_state_dict(filled(style))
    (job.positive,) = pack.StyleModelApplyAdvanced().apply_stylemodel(
        clip_vision_output(files, 32), comfy.sd.StyleModel(style), job.positive, 0.7
    )


def put_two_prompts_with_masks(job, files):
    pack = module(files.packs, "ComfyUI-KJNodes", "nodes.nodes")
    left = torch.linspace(1, 0, SIDE).expand(1, SIDE, SIDE)
    job.positive, job.negative = pack.ConditioningSetMaskAndCombine().append(
        job.positive, job.negative, job.negative, job.positive, left, 1 - left, "default", 1.0, 0.8
    )


COMPOSITIONS = {
    "IPAdapter Plus": Composition("unet", put_ipadapter_plus),
    "IPAdapter FaceID": Composition("unet", put_ipadapter_faceid),
    "IPAdapter FaceID Plus v2": Composition("unet", put_ipadapter_faceid_plus, CFG),
    "InstantID": Composition("unet", put_instantid, CFG),
    "PuLID, fidelity": Composition("unet", put_pulid("fidelity")),
    "PuLID, style": Composition("unet", put_pulid("style"), CFG),
    **{f"GGUF {kind}": Composition("flow", put_gguf(kind)) for kind in ("Q8_0", "Q4_K", "Q6_K")},
    "GGUF text encoder": Composition("unet", put_gguf_text),
    "KJNodes CFGZeroStarAndInit": Composition("flow", put_cfg_zero_star, CFG),
    "KJNodes DifferentialDiffusionAdvanced": Composition("flow", put_differential_diffusion, CFG),
    "KJNodes DiTBlockLoraLoader": Composition("flux_dev", put_block_lora),
    "KJNodes StyleModelApplyAdvanced": Composition("flux_dev", put_redux_with_a_strength),
    "KJNodes ConditioningSetMaskAndCombine": Composition("flow", put_two_prompts_with_masks, CFG),
}
