"""DICOM Structured Reports: codes, the two documents and their validation. The home of highdicom."""
