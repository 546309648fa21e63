"""Encoded images of others, decoded within bounds of time and memory."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from jaxadv.files import storage
from jaxadv.specs import UsageError

# Not all that Pillow knows: some formats run programs.
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
BYTES = 128 << 20
PIXELS = 75_000_000  # an image of ImageNet has 61 million
_OPENING = threading.Lock()


def read(path: str | os.PathLike) -> bytes:
    """The bytes of an image's file.

    Raises:
      UsageError: there is no such file, or it is no regular one, or too large.
    """
    return storage.check_file(path, most=BYTES).read_bytes()


def decode(
    data: bytes,
    where: str | Path,
    mode: str | None = None,
    draft: tuple[int, int] | None = None,
) -> Image.Image:
    """The image that `data` encodes.

    Args:
      data: the bytes.
      where: the file, for messages.
      mode: Pillow's name of what the pixels become; None leaves them as they are.
      draft: a JPEG may be decoded to a smaller size that is at least this one.

    Raises:
      UsageError: it is damaged, of another format, or has more than `PIXELS`.
    """
    with _opened(io.BytesIO(data), where) as image:
        if draft is not None:
            image.draft("RGB", draft)
        image.load()
        return image if mode is None else image.convert(mode)


def head(path: Path) -> tuple[str, tuple[int, int]]:
    """What the first bytes of a regular file tell: Pillow's mode, (width, height).

    Raises:
      UsageError: as `decode` does; a damaged rest is not seen.
    """
    with open(path, "rb") as file, _opened(file, path) as image:
        return image.mode, image.size


@contextlib.contextmanager
def _opened(file: Any, where: str | Path) -> Iterator[Image.Image]:
    """An image of bounded size; what goes wrong inside is told in one line."""
    try:
        # Filters of warnings belong to all threads.
        with _OPENING, warnings.catch_warnings():
            # Said of images above Pillow's own limit, all of which are above ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(file, formats=FORMATS)
        with opened as image:
            width, height = image.size
            if width * height > PIXELS:
                raise OSError(f"it has {width} x {height} pixels")
            yield image
    except Exception as error:  # a damaged image can raise anything at all
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{where}: no image ({reason}); replace it by a sound {', '.join(FORMATS)} "
            f"of at most {PIXELS:,} pixels"
        ) from None
