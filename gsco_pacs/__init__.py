"""A DICOM node in which specialist models brief a generalist and a draft report is filed in the study."""

__version__ = "0.1.0"
