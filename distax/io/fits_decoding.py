"""Program that decodes a compressed FITS image, for `apart.decode_apart`. It imports no distax."""

import sys
import warnings

import numpy as np
from astropy.io import fits


def decode(path: str, index: int, decoded: str) -> None:
    """Writes the stored pixels of an image to an NPZ file.

    Args:
      path: the FITS file.
      index: place of the image in it, from 0.
      decoded: the NPZ file.
    """
    warnings.simplefilter("ignore")
    with fits.open(path, do_not_scale_image_data=True) as parts:
        np.savez(decoded, parts[index].data)


if __name__ == "__main__":
    decode(sys.argv[1], int(sys.argv[2]), sys.argv[3])
