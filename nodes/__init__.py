"""What a user sees: a module per shelf of the node menu.  Nodes declare and delegate."""

from .demo import DrawDemoPortrait, LoadDemoDiscriminator, LoadDemoModel, LoadDemoVision
from .discriminators.embedding import LoadEmbeddingDiscriminator
from .discriminators.faces import LoadFaceDiscriminator
from .discriminators.subjects import LoadSubjectDiscriminator
from .guidance.color import ColorGuidance
from .guidance.combine import CombineGuidance, LimitGuidance
from .guidance.identity import IdentityGuidance
from .guidance.segmentation import SegmentationGuidance
from .guidance.style import StyleGuidance
from .identity.crop import CropAroundSubject
from .identity.describe import DescribeFaceIdentity
from .identity.encode import EncodeReferenceIdentity
from .identity.files import LoadIdentity, SaveIdentity
from .identity.measure import MeasureIdentity
from .inputs import with_checked_inputs
from .models.families import ModelSamplingPeRFlow, ModelSamplingRectifiedFlow
from .sampling.prompts import EncodePromptBatch
from .sampling.report import PlotConvergence
from .sampling.sampler import AnchoredRectifiedSampler, AnchoredSampler
from .sampling.seed import FindSeed
from .sampling.settings import AnchoredSamplerSettings

NODES = [
    with_checked_inputs(node)
    for node in (
        LoadFaceDiscriminator,
        LoadSubjectDiscriminator,
        LoadEmbeddingDiscriminator,
        EncodeReferenceIdentity,
        SaveIdentity,
        LoadIdentity,
        MeasureIdentity,
        CropAroundSubject,
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
        AnchoredSamplerSettings,
        PlotConvergence,
        ModelSamplingRectifiedFlow,
        ModelSamplingPeRFlow,
        LoadDemoModel,
        LoadDemoDiscriminator,
        LoadDemoVision,
        DrawDemoPortrait,
    )
]
