"""Reading of images for networks: opened, turned upright, converted to RGB, resized to a square.

Images come as paths, encoded bytes, Pillow images or (H, W, 3) uint8 arrays.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from proxmtl.limits import advice, limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ImageLike: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.uint8]"
Fit: TypeAlias = Literal["crop", "stretch", "pad"]


class SizedImages(Protocol):
    """A collection of images with a length: a list, or :class:`~.TarImages`."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __iter__(self) -> Iterator[ImageLike]:
        """Iterate over the images."""


FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats of Pillow that are read; others run programs, or are read by few."""
_UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise for damaged files, as found by damaging them."""
_DEEP = (
    "its values, of mode {}, go beyond 8 bits, and which of them are black and white isn't said: "
    "scale it to 8 bits"
)
_OPENING = threading.Lock()
"""The limit is one for all threads."""
CROP_FRACTION = 0.875
"""Part of the short side that ``"crop"`` keeps, as in the evaluation of ImageNet models."""


def open_image(image: ImageLike, name: str = "image") -> Image.Image:
    """Decode an image and return it upright and in RGB.

    Parameters
    ----------
    image
        Path, encoded bytes, Pillow image, or (H, W, 3) or (H, W) uint8 array.
    name
        How errors call it.

    Raises
    ------
    FileNotFoundError
        If a path isn't there.
    ValueError
        If it can't be decoded, has more pixels than the limit (see `proxmtl.limits`), grey values
        of more than 8 bits, or an array has another shape or dtype.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in {2, 3}:
            msg = f"{name} is an array {image.shape} {image.dtype}; give (H, W, 3) uint8."
            raise ValueError(msg)
        return Image.fromarray(image).convert("RGB")
    try:
        if isinstance(image, Image.Image):
            return _decoded(image)
        name = name if isinstance(image, bytes) else str(image)
        source = io.BytesIO(image) if isinstance(image, bytes) else Path(image)
        with _opened(source) as opened:  # a file that can't be decoded is closed, too
            return _decoded(opened)
    except FileNotFoundError as error:
        msg = f"{name} isn't there; check the path of the image."
        raise FileNotFoundError(msg) from error
    except _UNREADABLE as error:
        # Pillow's own sentence would name an object in memory
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none of {', '.join(FORMATS)}" if unknown else error
        msg = f"{name} can't be decoded as an image ({reason}); remove it or get it again."
        raise ValueError(msg) from error


def read_encoded(path: Path) -> bytes:
    """Read the file of an image.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    ValueError
        If it can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        msg = f"{path} isn't there; check the path of the image."
        raise FileNotFoundError(msg) from error
    except OSError as error:
        msg = f"{path} can't be read ({error.strerror}); remove it or get it again."
        raise ValueError(msg) from error


def _decoded(image: Image.Image) -> Image.Image:
    """A copy of an image, upright and in RGB."""
    _check_size(image)
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(_DEEP.format(image.mode))
    return ImageOps.exif_transpose(image).convert("RGB")


def _check_size(image: Image.Image) -> None:
    """Compare the size that a header announces with the limit, before anything is decoded."""
    n_pixels = image.width * image.height
    if n_pixels > limit("image_pixels"):
        msg = (
            f"{image.width} x {image.height} pixels, and {advice('image_pixels', n_pixels)}, or "
            "make it smaller"
        )
        raise ValueError(msg)


def _opened(source: Path | io.BytesIO) -> Image.Image:
    """Read the header, without Pillow's own limit, which can't be raised from outside."""
    with _OPENING:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def to_pixels(
    image: ImageLike, size: int, fit: Fit = "crop", name: str = "image"
) -> NDArray[np.uint8]:
    """Resize to a square with antialiasing.

    Parameters
    ----------
    image
        As for :func:`open_image`.
    size
        Side of the result in pixels.
    fit
        ``"crop"``: short side to ``size / 0.875``, central square. ``"stretch"``: both sides to
        ``size``, nothing lost, proportions changed. ``"pad"``: long side to ``size``, centred on
        grey, nothing lost or changed.
    name
        How errors call it.

    Returns
    -------
    ndarray
        (3, size, size) uint8, RGB.

    Raises
    ------
    ValueError
        If ``size`` isn't positive, ``fit`` is unknown, or the image can't be decoded.
    """
    check_fit(size, fit)
    picture = open_image(image, name)
    method = Image.Resampling.BICUBIC
    if fit == "stretch":
        square = picture.resize((size, size), method)
    elif fit == "pad":
        square = ImageOps.pad(picture, (size, size), method, color=(128, 128, 128))
    else:
        square = _central_square(picture, size, method)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def check_fit(size: int, fit: str) -> None:
    """Check the side of a square, and the way in which images become squares.

    Raises
    ------
    ValueError
        If the side isn't positive, or the way is unknown.
    """
    if size < 1 or fit not in get_args(Fit):
        msg = f"size={size}, fit={fit!r}: give a positive size, and 'crop', 'stretch' or 'pad'."
        raise ValueError(msg)


def _central_square(picture: Image.Image, size: int, method: Image.Resampling) -> Image.Image:
    # one resampling of the source box, so nothing is rounded to whole pixels in between
    side = CROP_FRACTION * min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    return picture.resize((size, size), method, box=(left, top, left + side, top + side))
