"""The picture that a specialist read, rendered anew from the stored file, and the captures that the node made of it."""

from io import BytesIO

import numpy as np
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.registration import PART_OF_STUDY
from gsco_pacs.domain.storage import Holding
from gsco_pacs.domain.study import valid_uid
from gsco_pacs.pixels.display import display
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.pixels.rendering import png
from gsco_pacs.web.facts import Facts
from gsco_pacs.web.study_page import consultation_of


def picture(facts: Facts, study_instance_uid: str, sop_instance_uid: str) -> bytes:
    """PNG of an image of the study that a specialist has read; ConfigError for any other one.

    What no specialist read is not rendered: then no bytes are decoded here that did not pass a worker before.
    """
    history = facts.study(study_instance_uid)
    uid = valid_uid(sop_instance_uid)
    read = {image for r in history.revisions if (c := consultation_of(r)) for image in c.read}
    rows = [r for r in history.received if r.sop_instance_uid == uid and r.kind in PART_OF_STUDY]
    if not rows or uid not in read:
        raise ConfigError(f"No specialist has read an image {uid} of this study.")
    row = rows[-1]  # a corrected header took the former one's place
    if row.holding != Holding.HERE:
        raise ConfigError(f"The image {uid} was deleted here.")
    with facts.rendering:
        image = open_image(facts.store / row.path)
        return png(display(image, image.shown_frame))


def captured(facts: Facts, sop_instance_uid: str) -> bytes:
    """PNG of a capture that the node made; ConfigError for any other object."""
    capture = dcmread(BytesIO(facts.report(sop_instance_uid)))
    if capture.SOPClassUID != SecondaryCaptureImageStorage:
        raise ConfigError(f"{sop_instance_uid} is no capture.")
    return png(np.asarray(capture.pixel_array / 255, np.float32))
