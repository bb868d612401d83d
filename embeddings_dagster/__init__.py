"""Software-defined assets from a pile of pictures to a search that is right, fresh and fast."""

__version__ = "0.1.0"
