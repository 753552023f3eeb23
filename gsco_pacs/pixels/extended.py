"""A decoding plug-in of pydicom for JPEG Extended (Process 2 and 4): GDCM, also for 12 bits.

pydicom's own GDCM plug-in refuses 12 bits and Pillow cannot decode them; the remaining choice would be GPL code.
The form (DECODER_DEPENDENCIES, is_available, a function of frame and runner) is the one that pydicom asks of plug-ins.
"""

import gdcm
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGExtended12Bit

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm>=3.0.10",)}


def is_available(uid: str) -> bool:
    """Whether this plug-in decodes the transfer syntax ``uid``."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """The stored values of one JPEG frame, colour by pixel; ValueError if GDCM cannot decode it."""
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(_pixel_data(frame))
    photometric = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    syntax = gdcm.TransferSyntax.GetTSType(str(runner.transfer_syntax))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(
        gdcm.PixelFormat(
            runner.samples_per_pixel,
            runner.bits_allocated,
            runner.bits_stored,
            runner.bits_stored - 1,
            runner.pixel_representation,
        )
    )
    if runner.samples_per_pixel > 1:
        image.SetPlanarConfiguration(0)
        runner.set_option("planar_configuration", 0)
    values = image.GetBuffer().encode("utf-8", "surrogateescape")
    if len(values) != runner.frame_length(unit="bytes"):
        raise ValueError("GDCM did not decode the frame.")
    return bytes(values)


def _pixel_data(frame: bytes) -> gdcm.DataElement:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    return element
