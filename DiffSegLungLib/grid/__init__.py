"""The canonical grid (2 x 1 x 1 mm), its cells of 8 mm, and the tiles that the network sees."""
