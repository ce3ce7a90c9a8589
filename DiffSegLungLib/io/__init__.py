"""Reading and writing: CT, masks, DICOM, NIfTI; a file appears whole or not at all."""
