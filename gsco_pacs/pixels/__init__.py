"""From a stored DICOM image to the picture that a person would see. No torch."""
