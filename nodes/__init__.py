"""What a user sees: a module per shelf of the node menu.  Nodes declare and delegate."""

from .demo import DrawDemoPortrait, LoadDemoModel
from .discriminators import LoadEmbeddingDiscriminator
from .identity import EncodeReferenceIdentity
from .report import PlotConvergence
from .sampler import AnchoredRectifiedSampler

NODES = [
    LoadEmbeddingDiscriminator,
    EncodeReferenceIdentity,
    AnchoredRectifiedSampler,
    PlotConvergence,
    LoadDemoModel,
    DrawDemoPortrait,
]
