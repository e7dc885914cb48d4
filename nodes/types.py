"""The sockets of the pack."""

from comfy_api.latest import io

Discriminator = io.Custom("RECTIFID_DISCRIMINATOR")
Guidance = io.Custom("RECTIFID_GUIDANCE")  # an identity, too: it guides as it is
Report = io.Custom("RECTIFID_REPORT")
Settings = io.Custom("RECTIFID_SETTINGS")
