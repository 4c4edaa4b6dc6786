"""How much of [tokens, vocabulary] is in memory at once: sizes that the trainer works by and the forecast of memory counts with.

No torch: the Snakefile plans with them.
"""

WHOLE = 2**24  # elements up to which logits are made in one piece, as a model makes them: 64 MB in float32
TILE_CPU, TILE_GPU = 2**20, 2**25  # elements of one piece of what is larger: what fits a core's cache, what keeps a GPU busy
NARROWEST = 512  # words of a tile, however many tokens there are


def is_whole(tokens: int, vocabulary: int) -> bool:
    return tokens * vocabulary <= WHOLE


def whole_tokens(vocabulary: int) -> int:
    """As many as are in one piece."""
    return max(1, WHOLE // vocabulary)


def tile_width(tokens: int, vocabulary: int, device: str) -> int:
    """Words of the vocabulary that a tile of all tokens takes; tiles are equally wide up to one word."""
    widest = max(NARROWEST, (TILE_CPU if device == "cpu" else TILE_GPU) // max(1, tokens))
    tiles = -(-vocabulary // widest)
    return -(-vocabulary // tiles)
