"""prepare: the pictures (or volumes) of a study that fit a specialist, and why the others were left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom import Dataset
from pydicom.sr.coding import Code

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.findings import Exclusion
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.pixels.choice import Candidate, choose
from gsco_pacs.pixels.decoding import IN_PROCESS, Decoder
from gsco_pacs.pixels.display import display
from gsco_pacs.pixels.opening import ImageFile, attribute, check_size, open_image, picture_bytes
from gsco_pacs.pixels.stacking import stacked, unfit
from gsco_pacs.ports import InputContract, Picture, Volume, VolumeContract
from gsco_pacs.settings.decoding import Decoding
from gsco_pacs.sr.key_objects import SELECTION, key_images

_JUDGED_BY = (
    "SOPClassUID", "Modality", "ImageType", "BodyPartExamined", "ViewPosition", "ViewCodeSequence",
    "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames", "PhotometricInterpretation",
)  # fmt: skip
_BROKEN = Exclusion("", "Another image of its series is not readable, so the series is no volume.")
_PLACED_BY = (
    *_JUDGED_BY, "SOPInstanceUID", "FrameOfReferenceUID", "PixelSpacing",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_VIEWS = (
    (Code("399348003", "SCT", "antero-posterior"), "AP"),
    (Code("272479007", "SCT", "postero-anterior"), "PA"),
    (Code("399067008", "SCT", "lateral"), "LL"),
    (Code("399173006", "SCT", "left lateral"), "LL"),
    (Code("399198007", "SCT", "right lateral"), "RL"),
    (Code("399184004", "SCT", "left oblique"), "LLO"),
    (Code("399135007", "SCT", "left anterior oblique"), "LLO"),
    (Code("399006002", "SCT", "left posterior oblique"), "LLO"),
    (Code("399236003", "SCT", "right oblique"), "RLO"),
    (Code("399356000", "SCT", "right anterior oblique"), "RLO"),
    (Code("399038007", "SCT", "right posterior oblique"), "RLO"),
    (Code("399162004", "SCT", "cranio-caudal"), "CC"),
    (Code("399368009", "SCT", "medio-lateral oblique"), "MLO"),
)
"""View Code Sequence (PS3.16 CID 4010 and 4014) -> defined term of View Position (PS3.3 C.8.11.5)."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a specialist is shown, and what it is not."""

    pictures: tuple[Picture, ...]
    """In the order of series, position and Instance Number; may be empty."""
    exclusions: tuple[Exclusion, ...]
    """One for each instance that has no picture."""
    how: str = ""
    """What was read of how much, such as "12 of 240 images were read, evenly spread"; empty if only one fits."""


@dataclass(frozen=True, eq=False)
class PreparedVolumes:
    """What a segmenter is shown, and what it is not."""

    volumes: tuple[Volume, ...]
    """One for each fitting series; may be empty."""
    exclusions: tuple[Exclusion, ...]
    """One for each instance that is in no volume."""


@dataclass(frozen=True)
class _Fitting:
    order: tuple[float, str, float, float, float]
    candidate: Candidate
    file: StoredFile
    size: int
    """Bytes of its picture."""


def prepare(files: Sequence[StoredFile], contract: InputContract, decoder: Decoder = IN_PROCESS) -> Prepared:
    """Decode and window the images of a study that fit ``contract``, as many of them as its ``reading`` says.

    A file that cannot be read, or that is one too many for the limits of the ``decoder``, becomes an exclusion with
    ``failed``; TransientError only if the store or the memory is at fault.
    """
    keys = key_images(f.path for f in files if f.instance.sop_class_uid == SELECTION) if (
        contract.reading.images == "key") else {}  # fmt: skip
    fitting: list[_Fitting] = []
    exclusions: list[Exclusion] = []
    for file in files:
        answer = _judged(file, contract, keys, decoder.limits)
        if isinstance(answer, Exclusion):
            exclusions.append(answer)
        else:
            fitting += answer
    fitting.sort(key=lambda each: (each.order, each.candidate.sop_instance_uid))
    choice = choose([each.candidate for each in fitting], contract.reading, contract.max_images, keys)
    chosen = [fitting[number] for number in choice.numbers]
    exclusions += _surplus(fitting, chosen, choice.how)
    pictures: list[Picture] = []
    room = decoder.limits.study_bytes
    for each in chosen:
        room -= each.size
        shown = _shown(each, decoder) if room >= 0 else _too_much(each, decoder.limits)
        if isinstance(shown, Exclusion):
            exclusions.append(shown)
        else:
            pictures.append(shown)
    return Prepared(tuple(pictures), tuple(exclusions), _told(len(pictures), fitting, choice.how))


def prepare_volumes(
    files: Sequence[StoredFile], contract: VolumeContract, decoder: Decoder = IN_PROCESS
) -> PreparedVolumes:
    """Stack each series of a study that fits ``contract`` into a volume, in the order of series.

    A series whose slices are no even stack is left out as a whole, with the reason. Errors as ``prepare``.
    """
    plain = InputContract(
        contract.modalities, contract.sop_classes, contract.body_parts, (), min_rows=1, min_columns=1,
        max_images=1,
    )  # fmt: skip
    series: dict[str, list[_Fitting]] = {}
    exclusions: list[Exclusion] = []
    broken: set[str] = set()
    for file in files:
        answer = _judged(file, plain, {}, decoder.limits)
        if isinstance(answer, Exclusion):
            exclusions.append(answer)
            broken |= {file.instance.series_instance_uid} if answer.failed else set()
        else:
            series.setdefault(file.instance.series_instance_uid, []).extend(answer)
    volumes: list[Volume] = []
    for uid, fitting in sorted(series.items(), key=lambda item: min(each.order for each in item[1])):
        found = _BROKEN if uid in broken else _stacked(fitting, contract, decoder)
        if isinstance(found, Volume):
            volumes.append(found)
        else:
            exclusions += [replace(found, subject=each.candidate.sop_instance_uid) for each in fitting]
    return PreparedVolumes(tuple(volumes), tuple(exclusions))


def _stacked(fitting: Sequence[_Fitting], contract: VolumeContract, decoder: Decoder) -> Volume | Exclusion:
    """The volume, or why it is none; without a subject."""
    if sum(each.size for each in fitting) > decoder.limits.study_bytes:
        return _too_much(fitting[0], decoder.limits)
    try:
        stack = stacked([open_image(each.file.path, _PLACED_BY) for each in fitting])
    except BadObjectError as error:
        return Exclusion("", f"The series is no volume: {error}")
    reason = unfit(stack, contract)
    if reason:
        return Exclusion("", reason)
    try:
        return stack.volume(decoder)
    except BadObjectError as error:
        return Exclusion("", f"The series cannot be decoded: {error}", failed=True)


def _surplus(fitting: Sequence[_Fitting], chosen: Sequence[_Fitting], how: str) -> Iterator[Exclusion]:
    read = {each.candidate.sop_instance_uid for each in chosen}
    reason = f"Not looked at: {len(chosen)} of {len(fitting)} fitting {_noun(fitting)}, {how}, are read."
    left = dict.fromkeys(each.candidate.sop_instance_uid for each in fitting)
    return (Exclusion(uid, reason) for uid in left if uid not in read)


def _told(read: int, fitting: Sequence[_Fitting], how: str) -> str:
    if len(fitting) < 2 or not read:
        return ""
    if read == len(fitting):
        return f"all {read} fitting {_noun(fitting)} were read"
    return f"{read} of {len(fitting)} fitting {_noun(fitting)} {'was' if read == 1 else 'were'} read, {how}"


def _noun(fitting: Sequence[_Fitting]) -> str:
    images = {each.candidate.sop_instance_uid for each in fitting}
    return "images" if len(images) == len(fitting) else "frames"


def _judged(
    file: StoredFile, contract: InputContract, keys: Mapping[str, tuple[int, ...]], limits: Decoding
) -> list[_Fitting] | Exclusion:
    """The file's pictures, or why it has none: one frame, or each if each is read, or those named as key images."""
    uid = file.instance.sop_instance_uid
    try:
        image = open_image(file.path, _JUDGED_BY)
        reason = misfit(image, contract)
        if not reason:
            check_size(image, limits)
            reason = too_small(image, contract)
        if reason:
            return Exclusion(uid, reason)
        frames = keys.get(uid) or (image.shown_frame,)
        if contract.reading.frames == "all":
            frames = tuple(range(1, image.frames + 1))
        series, order = _text(image.header, "SeriesInstanceUID"), _order(image.header)
        return [
            _Fitting((*order, frame), Candidate(uid, frame, series), file, picture_bytes(image))
            for frame in frames
            if frame <= image.frames
        ]
    except BadObjectError as error:
        return Exclusion(uid, str(error), failed=True)


def _too_much(fitting: _Fitting, limits: Decoding) -> Exclusion:
    reason = f"The pictures of the study would need more than {limits.study_bytes} bytes of memory."
    return Exclusion(fitting.candidate.sop_instance_uid, reason, failed=True)


def _shown(fitting: _Fitting, decoder: Decoder) -> Picture | Exclusion:
    uid, frame = fitting.candidate.sop_instance_uid, fitting.candidate.frame
    try:
        return Picture(uid, display(open_image(fitting.file.path), frame, decoder), frame)
    except BadObjectError as error:
        return Exclusion(uid, str(error), failed=True)


def misfit(image: ImageFile, contract: InputContract) -> str:
    """Why ``image`` is none that the contract asks for, naming attributes but never their values; "" if it is one.

    A missing body part or view is let pass, because most modalities leave them out; a contradicting one is not.
    """
    header = image.header
    wanted = "the model reads {}.".format
    checks = (
        (not image.length, "It has no pixel data in integers."),
        (
            _outside(_text(header, "SOPClassUID"), contract.sop_classes),
            "SOP Class UID: not what the model reads.",
        ),
        (
            _outside(_text(header, "Modality"), contract.modalities),
            f"Modality: {wanted(_words(contract.modalities))}",
        ),
        ("LOCALIZER" in _texts(header, "ImageType"), "Image Type: it is a localizer."),
        (
            _outside(_text(header, "BodyPartExamined"), contract.body_parts, missing_passes=True),
            f"Body Part Examined: {wanted(_words(contract.body_parts))}",
        ),
        (
            _outside(_view(header), contract.views, missing_passes=True),
            f"View Position or View Code: {wanted(_words(contract.views))}",
        ),
    )
    return next((reason for wrong, reason in checks if wrong), "")


def too_small(image: ImageFile, contract: InputContract) -> str:
    """Why ``image`` has too few pixels for the contract; "" if it has enough."""
    rows, columns = _number(image.header, "Rows"), _number(image.header, "Columns")
    if rows >= contract.min_rows and columns >= contract.min_columns:
        return ""
    return f"Rows and Columns: fewer than {contract.min_rows} x {contract.min_columns}."


def _outside(value: str, wanted: tuple[str, ...], *, missing_passes: bool = False) -> bool:
    return bool(wanted) and value not in wanted and not (missing_passes and not value)


def _words(terms: tuple[str, ...]) -> str:
    return ", ".join(terms)


def _view(header: Dataset) -> str:
    """View Position, or what View Code Sequence says in its place (also in the retired SRT codes, which Code equates)."""
    said = _text(header, "ViewPosition")
    if said:
        return said
    for item in attribute(header, "ViewCodeSequence") or ():
        code = Code(_text(item, "CodeValue"), _text(item, "CodingSchemeDesignator"), "")
        for known, term in _VIEWS:
            if code == known:
                return term
    return ""


def _order(header: Dataset) -> tuple[float, str, float, float]:
    """Series, then place along the slice normal (PS3.3 C.7.6.2.1.1; 0 where there is none), then Instance Number."""
    position, orientation = (
        _numbers(header, "ImagePositionPatient"),
        _numbers(header, "ImageOrientationPatient"),
    )
    place = 0.0
    if len(position) == 3 and len(orientation) == 6:
        place = float(np.cross(orientation[:3], orientation[3:]) @ np.asarray(position))
    series = _number(header, "SeriesNumber"), _text(header, "SeriesInstanceUID")
    return (*series, place, _number(header, "InstanceNumber"))


def _texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    value = attribute(header, keyword)
    values = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    return tuple(str(each).strip().upper() for each in values)


def _text(header: Dataset, keyword: str) -> str:
    return next(iter(_texts(header, keyword)), "")


def _numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """Values of an attribute that only orders images or is checked elsewhere: none if they are no numbers."""
    try:
        value = attribute(header, keyword)
        values = (value,) if isinstance(value, str | float | int) else value or ()
        return tuple(float(each) for each in values)
    except (TypeError, ValueError, BadObjectError):
        return ()


def _number(header: Dataset, keyword: str) -> float:
    return next(iter(_numbers(header, keyword)), 0.0)
