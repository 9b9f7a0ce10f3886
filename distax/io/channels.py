"""Extraction of counts from grey images that are stored in colour, with alpha or with a palette."""

import numpy as np
from jaxtyping import Num, Shaped

from distax.io.pixels import to_floats
from distax.io.reading import MEAN, Reading
from distax.runtime.errors import DistaxError


def one_channel(
    samples: Num[np.ndarray, "height width S"], has_alpha: bool, where: object, reading: Reading
) -> Num[np.ndarray, "height width"]:
    """Returns the first colour channel if all are equal, or the channel that the settings choose.

    Args:
      samples: colour channels, and alpha as the last if there is one.
      has_alpha: True if the last channel is alpha. It must be the same everywhere.
      where: the file, and the image in it, for the error message.
      reading: settings of the reader.

    Raises:
      DistaxError: the colours differ or alpha varies, and no channel is chosen; or the chosen
        channel does not exist.
    """
    colours = samples[..., :-1] if has_alpha else samples
    number = colours.shape[-1]
    if reading.channel == MEAN:
        return to_floats(colours).mean(axis=-1)
    if reading.channel is not None:
        if int(reading.channel) >= number:
            raise DistaxError(
                f"{where}: has no colour channel {reading.channel}; it has {number}, numbered from "
                "0"
            )
        return colours[..., int(reading.channel)]
    first = colours[..., 0]
    if any(not _same(first, colours[..., k]) for k in range(1, number)):
        raise DistaxError(
            f"{where}: a colour image, whose {number} channels differ; choose one by --channel 0 "
            f"(red) to {number - 1}, or their mean by --channel {MEAN}"
        )
    if has_alpha and (samples[..., -1] != samples[0, 0, -1]).any():
        raise DistaxError(
            f"{where}: its alpha channel varies, so some pixels are transparent; drop alpha by "
            "--channel 0, and mark bad pixels by --mask"
        )
    return first


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns True if two channels are equal; NaN counts as equal to NaN."""
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def look_up(
    indices: Num[np.ndarray, "height width"],
    palette: Shaped[np.ndarray, "entries channels"],
    where: object,
    reading: Reading,
) -> Num[np.ndarray, "height width"]:
    """Replaces the indices of a palette image by its grey levels. A fourth channel is alpha.

    Raises:
      DistaxError: an index is beyond the palette; or a colour in use is not grey, and no channel is
        chosen.
    """
    if indices.size and int(indices.max()) >= len(palette):
        raise DistaxError(
            f"{where}: its palette has {len(palette)} colours, but a pixel has number "
            f"{int(indices.max())}; the file is damaged"
        )
    used, places = np.unique(indices, return_inverse=True)
    levels = one_channel(palette[used][None], palette.shape[1] == 4, where, reading)[0]
    return levels[places].reshape(indices.shape)
