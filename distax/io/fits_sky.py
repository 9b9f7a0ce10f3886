"""Sky coordinates of FITS images, after checks of the keywords that their conversion omits."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.io.faults import logs_raised
from distax.io.fits_structure import Hdu, parse_real
from distax.io.pixels import Sky
from distax.runtime.errors import DistaxWarning
from distax.runtime.optional import require

_MOST_AXES, _HIGHEST_ORDER = 8, 9
"""Most axes of sky coordinates, and highest order of their distortion (SIP). The memory that their
conversion allocates grows with both."""
_LARGEST = 1e9
"""Largest size of a coordinate in degrees or pixels. The conversion of a larger one is exact to
less than a millionth at best."""
_WIDEST = 360.0
"""Largest size of a pixel in degrees."""
_ORDERS = ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER")
_OF_AXIS = re.compile(r"(?:CRPIX|CRVAL|CDELT|CROTA|CD|PC|PV)(\d+)(?:_\d+)?")
"""Keywords of an axis whose values are numbers."""
_OF_ALL = re.compile(r"LONPOLE|LATPOLE|EQUINOX|EPOCH|[AB]P?_\d_\d")
"""Keywords of all axes whose values are numbers."""
_PLACE = re.compile(r".*ERROR \d+ in \w+\(\) at line \d+ of file \S+: ")
"""Beginning of WCSLIB's messages, which tells about its code."""


def read_sky(header: Any, hdu: Hdu, path: object) -> tuple[Sky | None, Mapping[str, Any]]:
    """Reads the conversion of an image's positions to sky coordinates.

    Coordinates that cannot be relied on are left out with a warning.

    Args:
      header: the image's header, as astropy reads it.
      hdu: the same header's values as text.
      path: the file, for the warning.

    Returns:
      The conversion, None without sky coordinates; and its FITS keywords, distortions included.
    """
    require("astropy", "FITS files")
    try:
        with warnings.catch_warnings(), logs_raised("astropy"):
            warnings.simplefilter("ignore")
            wcs = _parse(header, hdu)
            keywords = {} if wcs is None else dict(wcs.to_header(relax=True))
            if wcs is None:
                return None, keywords
            # Fails for celestial frames without ICRS coordinates, such as a planet's.
            _ = wcs.pixel_to_world(0, 0).icrs
    except Exception as error:
        message = f"{path}: its sky coordinates are left out ({_reason(error, hdu)})"
        warnings.warn(message, DistaxWarning, stacklevel=3)
        return None, {}

    def to_sky(
        row: Float[np.ndarray, " K"], column: Float[np.ndarray, " K"]
    ) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
        coordinates = wcs.pixel_to_world(column, row).icrs
        return coordinates.ra.deg, coordinates.dec.deg

    return to_sky, keywords


def _parse(header: Any, hdu: Hdu) -> Any:
    """Parses the keywords by astropy; None without sky coordinates.

    Raises:
      ValueError: a keyword is no number, or out of range.
      Exception: astropy cannot parse them.
    """
    from astropy.wcs import WCS

    _check_memory(hdu)
    wcs = WCS(_without_fortran(header, hdu))
    if not wcs.has_celestial:
        return None
    axes = wcs.wcs.lng + 1, wcs.wcs.lat + 1
    for keyword, text in hdu.cards.items():
        of_axis = _OF_AXIS.fullmatch(keyword)
        known = int(of_axis[1]) in axes if of_axis else _OF_ALL.fullmatch(keyword)
        # Astropy takes a default for what is no number.
        if known and parse_real(text) is None:
            raise ValueError(f"{keyword} is {text.strip()[:30]!r}, no number")
    celestial = wcs.celestial
    _check_range(celestial)
    return celestial


def _check_memory(hdu: Hdu) -> None:
    """Raises ValueError for coordinates whose conversion would take memory without bound."""
    limits = {"WCSAXES": _MOST_AXES, **dict.fromkeys(_ORDERS, _HIGHEST_ORDER)}
    for keyword, limit in limits.items():
        text = hdu.cards.get(keyword, "0")
        value = parse_real(text)
        if value is None or not 0 <= value <= limit:
            raise ValueError(f"{keyword} is {text.strip()[:30]!r}, no number up to {limit}")


def _without_fortran(header: Any, hdu: Hdu) -> Any:
    """Rewrites numbers whose exponents are marked by D, which WCSLIB drops."""
    changed = header.copy()
    for keyword, text in hdu.cards.items():
        if not (_OF_AXIS.fullmatch(keyword) or _OF_ALL.fullmatch(keyword)):
            continue
        number = parse_real(text)
        if number is not None and "D" in text.partition("/")[0].upper():
            del changed[keyword]
            changed[keyword] = number
    return changed


def _check_range(celestial: Any) -> None:
    """Raises ValueError for numbers that leave the coordinates no precision."""
    about, sip = celestial.wcs, celestial.sip
    about.set()
    numbers = {
        "CRPIX": about.crpix,
        "CRVAL": about.crval,
        "LONPOLE or LATPOLE": [about.lonpole, about.latpole],
        "PV": [value for _, _, value in about.get_pv()],
        "the distortion (SIP)": [] if sip is None else [*_terms(sip)],
    }
    for name, values in numbers.items():
        largest = np.abs(values).max(initial=0.0)
        if not largest <= _LARGEST:
            raise ValueError(f"{name} has {largest:g}, at most {_LARGEST:g} is taken")
    widest = np.abs(celestial.pixel_scale_matrix).max()
    if not widest <= _WIDEST:
        raise ValueError(f"a pixel of {widest:g}°, at most {_WIDEST:g}° is taken")


def _terms(sip: Any) -> np.ndarray:
    parts = (part for part in (sip.a, sip.b, sip.ap, sip.bp) if part is not None)
    return np.concatenate([part.ravel() for part in parts])


def _reason(error: Exception, hdu: Hdu) -> str:
    """Returns what a user can understand of an error: nothing about the code of libraries."""
    if isinstance(error, ValueError):
        return _PLACE.sub("", " ".join(str(error).split())).rstrip(".")
    axes = [hdu.text(keyword) for keyword in ("CTYPE1", "CTYPE2", "RADESYS")]
    return f"no conversion to the sky is known for {' '.join(filter(None, axes))!r}"
