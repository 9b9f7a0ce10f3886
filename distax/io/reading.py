"""Settings of the reader, and checks of sizes before memory is allocated."""

from dataclasses import dataclass

from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.fields import check_fields

NO_MASK = "none"
"""Name of the mask that stands for none."""
MEAN = "mean"
"""Channel that stands for the mean of all colours."""

_FREE = 2**20
"""Bytes that any file may unpack to, because constant pixels can be packed into a few bytes."""
_LARGEST_RATIO = 10_000
"""Largest ratio of unpacked to stored bytes. Deflate reaches 1,032 at most and LZW about 1,400.
Noise never gets near it, so a higher ratio is a promise that the file cannot keep."""


@dataclass(frozen=True)
class Reading:
    """Settings of the reader.

    Attributes:
      extension: name or number of the FITS extension, or name of the array in an NPZ file. Default:
        the first that holds an image.
      mask: file or FITS extension that marks bad pixels by values other than zero, or "none" for no
        mask. Default: the extension DQ, MASK or BPM of a FITS file.
      channel: colour channel to read, numbered from "0" (red), or "mean" for their mean. Default:
        the one channel of images whose channels are equal; other colour images are refused.
      max_bytes: largest size in bytes of a decompressed image, of an unpacked file, and of the
        pixels that are read into one array.
    """

    extension: str | None = None
    mask: str | None = None
    channel: str | None = None
    max_bytes: int = 4 * 10**9

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(max_bytes=self.max_bytes)
        if self.channel is not None and self.channel != MEAN and not self.channel.isdecimal():
            raise DistaxError(f"channel must be a number or {MEAN}, got {self.channel!r}")

    def check_size(self, where: object, promised: int, stored: int | None = None) -> None:
        """Checks a size before memory for it is allocated.

        Args:
          where: the file, and the image in it, for the error message.
          promised: bytes that the header promises.
          stored: bytes that the file holds for them. Default: not compared.

        Raises:
          DistaxError: the size exceeds `max_bytes`, or what the stored bytes can unpack to.
        """
        if promised > self.max_bytes:
            raise DistaxError(
                f"{where}: unpacks to {promised / 1e9:.3g} GB, more than the limit of "
                f"{self.max_bytes / 1e9:.3g} GB; raise the limit (--max-gigabytes), or split the "
                "file"
            )
        if stored is not None and promised > _FREE + _LARGEST_RATIO * stored:
            raise DistaxError(
                f"{where}: its header promises {promised:,} bytes of pixels, but only {stored:,} "
                "are stored; the file is damaged"
            )
