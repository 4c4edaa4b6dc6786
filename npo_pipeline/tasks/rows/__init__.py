"""Rows that somebody brings: files, cells, columns, conversations, pictures."""
