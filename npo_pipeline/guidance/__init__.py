"""Guides: where they come from, what they are worth (Q, V, S), when and from where to use them."""
