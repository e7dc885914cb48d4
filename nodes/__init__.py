"""What a user sees: a module per shelf of the node menu.  Nodes declare and delegate."""

from .color import ColorGuidance
from .demo import DrawDemoPortrait, LoadDemoModel, LoadDemoVision
from .discriminators import LoadEmbeddingDiscriminator
from .faces import DescribeFaceIdentity, LoadFaceDiscriminator
from .families import ModelSamplingPeRFlow, ModelSamplingRectifiedFlow
from .guidance import CombineGuidance, LimitGuidance
from .identity import EncodeReferenceIdentity, IdentityGuidance, LoadIdentity, MeasureIdentity, SaveIdentity
from .prompts import EncodePromptBatch
from .report import PlotConvergence
from .sampler import AnchoredRectifiedSampler, AnchoredSampler
from .seed import FindSeed
from .segmentation import SegmentationGuidance
from .style import StyleGuidance
from .subjects import LoadSubjectDiscriminator

NODES = [
    LoadFaceDiscriminator,
    LoadSubjectDiscriminator,
    LoadEmbeddingDiscriminator,
    EncodeReferenceIdentity,
    SaveIdentity,
    LoadIdentity,
    MeasureIdentity,
    DescribeFaceIdentity,
    IdentityGuidance,
    ColorGuidance,
    StyleGuidance,
    SegmentationGuidance,
    CombineGuidance,
    LimitGuidance,
    FindSeed,
    EncodePromptBatch,
    AnchoredRectifiedSampler,
    AnchoredSampler,
    PlotConvergence,
    ModelSamplingRectifiedFlow,
    ModelSamplingPeRFlow,
    LoadDemoModel,
    LoadDemoVision,
    DrawDemoPortrait,
]
