"""Feature extractors and image data: thin clients of the engine."""

from proxmtl.stubs import names_of_stub

__getattr__, __dir__, __all__ = names_of_stub(__name__, __file__)
