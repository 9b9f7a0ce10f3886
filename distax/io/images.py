"""Images from files: PNG, TIFF and NPY."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from distax.runtime.errors import DistaxError
from distax.runtime.optional import require

# Pillow's names of one-channel modes whose values are the file's own.
_ONE_CHANNEL = {"L", "I", "I;16", "I;16B", "F"}


def read_images(path: Path) -> Float[np.ndarray, "N height width"]:
    """The images in a file as floats; see `open_images`."""
    return np.asarray(open_images(path), np.float32)


def open_images(path: Path) -> Num[np.ndarray, "N height width"]:
    """The images in a file, values and type as stored (no scaling); NPY is mapped, not read.

    Args:
      path: a PNG, a TIFF (every page is an image), or an NPY array `[height, width]` or
        `[N, height, width]`; 8 or 16 bit, or floats in TIFF and NPY.

    Raises:
      DistaxError: no such file, another format, colour, a truncated or damaged file, an array of
        another number of axes or of a type that is no count.
    """
    if path.suffix.lower() == ".npy":
        return _open_npy(path)
    if path.suffix.lower() in {".png", ".tif", ".tiff"}:
        return _read_pages(path)
    raise DistaxError(f"{path}: not a FITS, PNG, TIFF or NPY file by its name; convert it first")


def _open_npy(path: Path) -> np.ndarray:
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DistaxError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise DistaxError(f"{path}: not a whole NPY file of numbers ({error})") from error
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
        with warnings.catch_warnings(), Image.open(path) as file:
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
    # Pillow reports damage as OSError, SyntaxError, ValueError or EOFError, by format.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, DistaxError):
            raise
        raise DistaxError(f"{path}: a truncated or damaged image ({error})") from error
    if len({page.shape for page in pages}) > 1:
        raise DistaxError(f"{path}: its pages have different sizes; split them into files")
    return np.stack(pages)
