"""How a MODEL's output is to be read, for flow models that ComfyUI does not know by themselves."""

from __future__ import annotations

from comfy_api.latest import io

from ...rectifid_core.flows.perflow import PREDICTIONS, WEIGHTS
from ..host.flows.model_sampling import with_perflow, with_rectified_flow
from ..schema import search_aliases


class ModelSamplingRectifiedFlow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ModelSamplingRectifiedFlow",
            display_name="Model Sampling Rectified Flow",
            category="RectifID/models",
            **search_aliases("instaflow"),
            description="Reads a UNet of Stable Diffusion's as a 2-rectified flow: InstaFlow and its finetunes. "
            "Samplers with the scheduler 'simple' then take equal steps from noise to picture.",
            inputs=[io.Model.Input("model", tooltip="The UNet of a 2-rectified flow.")],
            outputs=[io.Model.Output(tooltip="For the Anchored Rectified Sampler, or KSampler with euler.")],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(with_rectified_flow(model))


class ModelSamplingPeRFlow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ModelSamplingPeRFlow",
            display_name="Model Sampling PeRFlow",
            category="RectifID/models",
            **search_aliases("piecewise rectified flow"),
            description="Reads a UNet as a PeRFlow: a diffusion model whose path was straightened in windows. It keeps "
            "its own times, whatever the scheduler. For the Anchored Rectified Sampler; KSampler cannot run it.",
            inputs=[
                io.Model.Input("model", tooltip="The UNet of a PeRFlow model."),
                io.Combo.Input(
                    "prediction",
                    options=list(PREDICTIONS),
                    default=PREDICTIONS[0],
                    tooltip="What the UNet predicts: diff_eps for PeRFlow-SD1.5, ddim_eps for PeRFlow-SDXL, velocity "
                    "for PeRFlow-SD2.1.",
                ),
                io.Int.Input(
                    "windows", default=4, min=1, max=16, tooltip="The windows of its training: 4 for all that are out."
                ),
                io.Combo.Input(
                    "weights",
                    options=list(WEIGHTS),
                    default=WEIGHTS[0],
                    tooltip="How much guidance each window gets: as derived from its equations, or as in the authors' "
                    "code, for comparison.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="For the Anchored Rectified Sampler.")],
        )

    @classmethod
    def execute(cls, model, prediction, windows, weights) -> io.NodeOutput:
        return io.NodeOutput(with_perflow(model, prediction, windows, weights))
