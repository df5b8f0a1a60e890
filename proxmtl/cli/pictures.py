"""Small pictures of the images of a run, for its page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["RunImages", "images_of"]

SIDE = 112
"""Of the square that a picture fits into, in pixels."""
QUALITY = 72


@dataclass(frozen=True)
class RunImages:
    """The images that a run was made of, where they were then."""

    source: str
    """Folder, archive or list of images, as the run was given it."""

    def thumbnails(self, names: Sequence[str]) -> dict[str, bytes]:
        """JPEG of each named image that is still there and can be read."""
        from PIL import Image  # noqa: PLC0415 - heavy

        from proxmtl.backbones.data import find_images  # noqa: PLC0415 - heavy
        from proxmtl.backbones.images import open_image  # noqa: PLC0415 - heavy
        from proxmtl.io import InputError  # noqa: PLC0415 - heavy

        found: dict[str, bytes] = {}
        try:
            files = find_images(self.source, names, missing_ok=True)
            for name, image in zip(files.ids, files.images, strict=True):
                if isinstance(image, Path) and not image.is_file():
                    continue
                try:
                    picture = open_image(image, name)
                except ValueError:  # it can't be decoded: the page goes without it
                    continue
                picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                stream = io.BytesIO()
                picture.save(stream, "JPEG", quality=QUALITY, optimize=True)
                found[name] = stream.getvalue()
        except (InputError, OSError):  # moved, or removed since the fit
            return found
        return found


def images_of(config: Mapping[str, Any]) -> RunImages | None:
    """Images of a run by its configuration; None where it was made of features."""
    source = config.get("images", {}).get("source")
    if source is None and config.get("command") == "train":
        source = config.get("request", {}).get("images")
    return None if source is None else RunImages(str(source))
