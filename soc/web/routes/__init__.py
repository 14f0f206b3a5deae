"""The routes, one file a noun; each names its permission through `Allowed`."""
