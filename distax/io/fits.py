"""Frames from FITS files: plain, compressed or scaled, with their sky coordinates."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.io.pixels import Frame, Sky
from distax.runtime.errors import DistaxError, DistaxWarning
from distax.runtime.files import local_copy
from distax.runtime.optional import require


@contextmanager
def open_fits(path: Path, extension: str | None = None) -> Iterator[Frame]:
    """Opens the image of one extension; its rows are read from the file when asked for.

    Args:
      path: a FITS file, also gzipped or with tile compression.
      extension: name or number of the extension. Default: the first with a two-dimensional image.

    Raises:
      DistaxError: the file or the extension does not exist, is damaged or has no two-dimensional
        image.
    """
    with _open_hdus(path) as hdus:
        hdu = _select_hdu(hdus, path, extension)
        primary = hdus[0].header
        sky, wcs = _read_sky(hdu.header, path)
        saturation = hdu.header.get("SATURATE", primary.get("SATURATE"))
        yield Frame(
            pixels=_Rows(hdu, path),
            unit=str(hdu.header.get("BUNIT", primary.get("BUNIT", ""))).strip(),
            sky=sky,
            wcs=wcs,
            saturation=float(saturation) if isinstance(saturation, int | float) else None,
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Converts every exception of the block to a DistaxError that names the file.

    Astropy reports damage by many types of exceptions, so all are caught.
    """
    with warnings.catch_warnings():
        # Astropy's warnings on headers do not matter here; the one on truncation is an error.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*truncated.*")
        try:
            yield
        except FileNotFoundError as error:
            raise DistaxError(f"{path}: no such file") from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DistaxError(f"{path}: a truncated or damaged FITS file ({reason})") from error


@dataclass(frozen=True)
class _Rows:
    """Rows of an extension's last two axes; all other axes have length one."""

    hdu: Any
    path: Path

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.hdu.shape[-2:]
        return height, width

    def __getitem__(self, rows: slice) -> np.ndarray:
        leading = (0,) * (len(self.hdu.shape) - 2)
        with _reading(self.path):
            return np.asarray(self.hdu.section[(*leading, rows)])


@contextmanager
def _open_hdus(path: Path) -> Iterator[Any]:
    """Opens a FITS file and reads all its headers."""
    require("astropy", "FITS files")
    from astropy.io import fits

    with ExitStack() as stack:
        with _reading(path):
            # Astropy does not close a damaged file that it opened by its name.
            file = stack.enter_context(stack.enter_context(local_copy(path)).open("rb"))
            hdus = stack.enter_context(fits.open(file))
            # Reads every header, so that a truncated file raises here.
            len(hdus)
        yield hdus


def _select_hdu(hdus: Any, path: Path, extension: str | None) -> Any:
    """Returns the extension by name or number; by default the first two-dimensional image."""
    if extension is None:
        images = [hdu for hdu in hdus if hdu.is_image and _is_two_dimensional(hdu.shape)]
        if images:
            return images[0]
        held = ", ".join(_describe_hdu(index, hdu) for index, hdu in enumerate(hdus))
        raise DistaxError(f"{path}: no two-dimensional image in it; it holds {held}")
    try:
        hdu = hdus[int(extension) if extension.isdecimal() else extension]
    except (KeyError, IndexError) as error:
        held = ", ".join(_describe_hdu(index, hdu) for index, hdu in enumerate(hdus))
        raise DistaxError(f"{path}: no extension {extension!r}; it holds {held}") from error
    if not (hdu.is_image and _is_two_dimensional(hdu.shape)):
        raise DistaxError(
            f"{path}: extension {extension} is {_describe_hdu(hdus.index(hdu), hdu)}, not a "
            "two-dimensional image; save the plane you want as one"
        )
    return hdu


def _is_two_dimensional(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2 and all(length == 1 for length in shape[:-2])


def _describe_hdu(index: int, hdu: Any) -> str:
    name = f"{index} {hdu.name}".strip()
    if not hdu.is_image:
        return f"{name} (a table)"
    return f"{name} ({'×'.join(map(str, hdu.shape)) or 'empty'})"


def _read_sky(header: Mapping[str, Any], path: Path) -> tuple[Sky | None, Mapping[str, Any]]:
    """Returns the conversion to sky coordinates and its FITS keywords, distortions included."""
    from astropy.wcs import WCS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(header).celestial
            keywords = dict(wcs.to_header(relax=True)) if wcs.has_celestial else {}
        if not keywords:
            return None, keywords
        # Fails for celestial frames without ICRS coordinates, such as a planet's.
        _ = wcs.pixel_to_world(0, 0).icrs
    except Exception as error:
        reason = " ".join(str(error).split())
        message = f"{path}: its sky coordinates are left out ({reason})"
        warnings.warn(message, DistaxWarning, stacklevel=2)
        return None, {}

    def to_sky(
        row: Float[np.ndarray, " K"], column: Float[np.ndarray, " K"]
    ) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
        coordinates = wcs.pixel_to_world(column, row).icrs
        return coordinates.ra.deg, coordinates.dec.deg

    return to_sky, keywords
