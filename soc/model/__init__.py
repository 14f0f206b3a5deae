"""The nouns that rooms share. No I/O here."""
