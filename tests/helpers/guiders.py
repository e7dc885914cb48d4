"""Guiders, sigmas and SamplerCustomAdvanced of the host, for a job."""

from __future__ import annotations

import comfy.samplers
from comfy_extras import nodes_custom_sampler as custom


def sigmas(job, steps=3, scheduler="simple", denoise=1.0):
    return custom.BasicScheduler.execute(job.model, scheduler, steps, denoise).result[0]


def basic(job):
    return custom.BasicGuider.execute(job.model, job.positive).result[0]


def cfg(job, scale=3.0):
    return custom.CFGGuider.execute(job.model, job.positive, job.negative, scale).result[0]


def dual(job, scale=3.0, other=1.0, style="regular"):
    return custom.DualCFGGuider.execute(
        job.model, job.positive, job.negative, job.negative, scale, other, style
    ).result[0]


def draw(job, guider, sampler, steps, noise=None):
    """The latent of SamplerCustomAdvanced."""
    noise = noise or custom.RandomNoise.execute(5).result[0]
    output = custom.SamplerCustomAdvanced.execute(noise, guider, sampler, steps, job.latent)
    return output.result[0]["samples"]


def euler():
    return comfy.samplers.sampler_object("euler")
