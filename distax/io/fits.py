"""Frames from FITS files: plain, compressed, scaled, with sky coordinates."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.io.frames import Frame, Sky
from distax.runtime.errors import DistaxError, DistaxWarning
from distax.runtime.optional import require


@contextmanager
def open_fits(path: Path, extension: str | None = None) -> Iterator[Frame]:
    """The image of one extension, whose rows are read from the file when they are asked for.

    Args:
      path: a FITS file, also gzipped or with tile compression.
      extension: its name or number; the first that holds a two-dimensional image without it.

    Raises:
      DistaxError: the file or the extension does not exist, is damaged or holds no such image.
    """
    with _opened(path) as hdus:
        hdu = _chosen(hdus, path, extension)
        primary = hdus[0].header
        sky, wcs = _sky(hdu.header, path)
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
    """Whatever goes wrong in the block is the file's fault: damage has as many faces as formats."""
    with warnings.catch_warnings():
        # Most of what astropy remarks on is of no consequence here.
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
    """Reads rows of an extension's last two axes; the others have a length of one."""

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
def _opened(path: Path) -> Iterator[Any]:
    require("astropy", "FITS files")
    from astropy.io import fits

    with ExitStack() as stack:
        with _reading(path):
            # Astropy leaves a damaged file open that it opened itself.
            file = stack.enter_context(path.open("rb"))
            hdus = stack.enter_context(fits.open(file))
            # Reads every header: a file that was cut short tells so here.
            len(hdus)
        yield hdus


def _chosen(hdus: Any, path: Path, extension: str | None) -> Any:
    if extension is None:
        images = [hdu for hdu in hdus if hdu.is_image and _is_flat(hdu.shape)]
        if images:
            return images[0]
        held = ", ".join(_description(index, hdu) for index, hdu in enumerate(hdus))
        raise DistaxError(f"{path}: no two-dimensional image in it; it holds {held}")
    try:
        hdu = hdus[int(extension) if extension.isdecimal() else extension]
    except (KeyError, IndexError) as error:
        held = ", ".join(_description(index, hdu) for index, hdu in enumerate(hdus))
        raise DistaxError(f"{path}: no extension {extension!r}; it holds {held}") from error
    if not (hdu.is_image and _is_flat(hdu.shape)):
        raise DistaxError(
            f"{path}: extension {extension} is {_description(hdus.index(hdu), hdu)}, not a "
            "two-dimensional image; save the plane you want as one"
        )
    return hdu


def _is_flat(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2 and all(length == 1 for length in shape[:-2])


def _description(index: int, hdu: Any) -> str:
    name = f"{index} {hdu.name}".strip()
    if not hdu.is_image:
        return f"{name} (a table)"
    return f"{name} ({'×'.join(map(str, hdu.shape)) or 'empty'})"


def _sky(header: Mapping[str, Any], path: Path) -> tuple[Sky | None, Mapping[str, Any]]:
    """Where pixels lie on the sky, and the keywords that say so; distortions are among them."""
    from astropy.wcs import WCS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(header).celestial
            keywords = dict(wcs.to_header(relax=True)) if wcs.has_celestial else {}
        if not keywords:
            return None, keywords
        # Some frames, such as a planet's, are no sky.
        _ = wcs.pixel_to_world(0, 0).icrs
    except Exception as error:
        reason = " ".join(str(error).split())
        message = f"{path}: its sky coordinates are left out ({reason})"
        warnings.warn(message, DistaxWarning, stacklevel=2)
        return None, {}

    def on_sky(
        row: Float[np.ndarray, " K"], column: Float[np.ndarray, " K"]
    ) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
        place = wcs.pixel_to_world(column, row).icrs
        return place.ra.deg, place.dec.deg

    return on_sky, keywords
