"""The sockets of the pack."""

from comfy_api.latest import io

Discriminator = io.Custom("RECTIFID_DISCRIMINATOR")
Identity = io.Custom("RECTIFID_IDENTITY")
Guidance = io.Custom("RECTIFID_GUIDANCE")
Report = io.Custom("RECTIFID_REPORT")
