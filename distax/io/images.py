"""Images from PNG, TIFF and NPY files."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from distax.runtime.errors import DistaxError
from distax.runtime.files import local_copy
from distax.runtime.optional import require

# Pillow's one-channel modes whose values are those of the file.
_ONE_CHANNEL = {"L", "I", "I;16", "I;16B", "F"}


def read_images(path: Path) -> Float[np.ndarray, "N height width"]:
    """Reads all images of a file as float32; see `open_images`."""
    return np.asarray(open_images(path), np.float32)


def open_images(path: Path) -> Num[np.ndarray, "N height width"]:
    """Opens the images of a file with the values and the type as stored, without scaling.

    NPY files are memory-mapped; PNG and TIFF files are read whole.

    Args:
      path: a PNG, a TIFF (every page is an image), or an NPY array `[height, width]` or
        `[N, height, width]`; 8 or 16 bit, or floats in TIFF and NPY.

    Raises:
      DistaxError: the file does not exist, has another format, has colour channels, is truncated
        or damaged, or its array has another number of axes or a type that is not a number.
    """
    if path.suffix.lower() == ".npy":
        return _open_npy(path)
    if path.suffix.lower() in {".png", ".tif", ".tiff"}:
        return _read_pages(path)
    raise DistaxError(f"{path}: not a FITS, PNG, TIFF or NPY file by its suffix; convert it first")


def _open_npy(path: Path) -> np.ndarray:
    try:
        with local_copy(path) as local:
            images = np.load(local, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise DistaxError(f"{path}: not a complete NPY file of numbers ({error})") from error
    if images.dtype.kind not in "uif":
        raise DistaxError(f"{path}: holds {images.dtype}, not counts; store integers or floats")
    if images.ndim not in (2, 3) or 0 in images.shape:
        raise DistaxError(
            f"{path}: an array of shape {images.shape}; give [height, width] or [N, height, width]"
        )
    if images.ndim == 3 and images.shape[-1] in (3, 4):
        raise DistaxError(
            f"{path}: an array of shape {images.shape} looks like colour channels; give one channel"
        )
    return images.reshape(-1, *images.shape[-2:])


def _read_pages(path: Path) -> np.ndarray:
    require("PIL", "PNG and TIFF files")
    from PIL import Image, ImageSequence

    try:
        with warnings.catch_warnings(), local_copy(path) as local, Image.open(local) as file:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if file.mode not in _ONE_CHANNEL:
                raise DistaxError(
                    f"{path}: a colour or palette image (mode {file.mode}); give one channel of "
                    "counts, 8 or 16 bit"
                )
            pages = [np.array(page) for page in ImageSequence.Iterator(file)]
    except FileNotFoundError as error:
        raise DistaxError(f"{path}: no such file") from error
    except Image.DecompressionBombError as error:
        raise DistaxError(f"{path}: too large for this format; store it as FITS or NPY") from error
    # Pillow reports damage as one of these, depending on the format.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, DistaxError):
            raise
        raise DistaxError(f"{path}: a truncated or damaged image ({error})") from error
    if len({page.shape for page in pages}) > 1:
        raise DistaxError(f"{path}: its pages have different sizes; split them into files")
    return np.stack(pages)
