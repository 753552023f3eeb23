"""What the receiver takes: SOP Classes and transfer syntaxes, each of which a decoder of ours is tested with."""

from pydicom import uid
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import PresentationContext, build_context

TRANSFER_SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEG2000Lossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
)
"""In the order of choice when a peer offers several in one context: what loses nothing comes first.

Refused: deflated (a few kilobytes may grow without bound), big endian (retired), JPIP (pixels elsewhere), video and
HTJ2K (no decoder of ours is proved on it).
"""

VERIFICATION = "1.2.840.10008.1.1"

_TAKEN = (
    *("ImageStorage", "ImageStorageForPresentation", "ImageStorageForProcessing"),
    *("EnhancedUSVolumeStorage", "ParametricMapStorage", "SegmentationStorage"),
    *(
        "SRStorage",
        "KeyObjectSelectionDocumentStorage",
        "ProcedureLogStorage",
        "ContentAssessmentResultsStorage",
    ),
    "SoftcopyPresentationStateStorage",
    "VolumetricPresentationStateStorage",
    "AdvancedBlendingPresentationStateStorage",
)
_LEFT_OUT = ("Video", "SurfaceSegmentation")


def storage_sop_classes() -> tuple[str, ...]:
    """The UIDs of images, segmentations, maps, SR documents and presentation states: what an imaging study consists of.

    Left out are waveforms and audio, video, spectroscopy, radiotherapy plans, doses and records, raw data,
    registrations, meshes and surfaces, eye measurements, encapsulated documents and protocols: no model reads them,
    and a peer is told so once at negotiation instead of with each object.
    """
    offered = sorted(uid.UID(context.abstract_syntax or "") for context in AllStoragePresentationContexts)
    return tuple(
        str(sop_class)
        for sop_class in offered
        if sop_class.keyword.endswith(_TAKEN) and not sop_class.keyword.startswith(_LEFT_OUT)
    )


def supported_contexts() -> list[PresentationContext]:
    """Verification and every storage SOP Class, each with every transfer syntax, for the accepting side."""
    verification = build_context(VERIFICATION, [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
    return [verification, *(build_context(c, list(TRANSFER_SYNTAXES)) for c in storage_sop_classes())]
