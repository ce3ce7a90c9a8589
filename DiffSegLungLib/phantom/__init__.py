"""A chest CT generated from nothing, with lesions of every class and their truth."""
