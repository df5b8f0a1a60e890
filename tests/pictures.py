"""Pictures of one pixel: matplotlib would take most of the time of a small fit."""

import io
from pathlib import Path

__all__ = ["draw_no_figures"]


def draw_no_figures(patch=setattr):
    """Have matplotlib write each figure as one pixel.

    Parameters
    ----------
    patch
        As `setattr`; that of pytest's ``monkeypatch`` undoes it.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    content = io.BytesIO()
    Image.new("L", (1, 1)).save(content, "png")

    def savefig(self, path, **options):
        Path(path).write_bytes(content.getvalue())

    patch(Figure, "savefig", savefig)
