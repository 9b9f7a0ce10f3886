"""Good files of every image format, which are mutated."""

import bz2
import gzip
import io
import warnings

import imagecodecs
import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image

DEEP = np.random.default_rng(0).integers(0, 4000, (24, 30)).astype(np.uint16)
GRAY = (DEEP >> 4).astype(np.uint8)
STACK = np.stack([DEEP] * 3)


def saved(write, *arguments, **options):
    content = io.BytesIO()
    write(content, *arguments, **options)
    return content.getvalue()


def picture(kind, pixels=GRAY, mode=None, **options):
    return saved(Image.fromarray(pixels).convert(mode).save, kind, **options)


def fits_file(*hdus):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(fits.HDUList(list(hdus)).writeto)


def tiles(pixels, compression, **options):
    hdu = fits.CompImageHDU(pixels, compression_type=compression, **options)
    return fits_file(fits.PrimaryHDU(), hdu)


def described_fits():
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0, CRPIX1=1.0)
    header.update(CDELT1=-1e-3, CDELT2=2e-3, SATURATE=60000, BUNIT="adu")
    marks = (DEEP > 3900).astype(np.uint8)
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])], name="LIST")
    image = fits.ImageHDU(DEEP.astype(np.int16), header, name="SCI")
    return fits_file(fits.PrimaryHDU(), image, fits.ImageHDU(marks, name="DQ"), table)


GOOD = {
    "gray.png": picture("PNG"),
    "palette.png": picture("PNG", mode="P"),
    "deep.png": picture("PNG", DEEP),
    "colours.png": bytes(imagecodecs.png_encode(np.stack([DEEP] * 3, axis=-1))),
    "gray.bmp": picture("BMP"),
    "colours.bmp": picture("BMP", mode="RGB"),
    "a.jpg": picture("JPEG"),
    "progressive.jpg": picture("JPEG", progressive=True),
    "plain.tif": saved(tifffile.imwrite, DEEP),
    "pages.tif": saved(tifffile.imwrite, STACK, photometric="minisblack"),
    "lzw.tif": saved(tifffile.imwrite, DEEP, compression="lzw", predictor=True),
    "tiles.tif": saved(tifffile.imwrite, DEEP, compression="zlib", tile=(16, 16)),
    "zstd.tif": saved(tifffile.imwrite, DEEP.astype(np.float32), compression="zstd"),
    "packbits.tif": saved(tifffile.imwrite, GRAY, compression="packbits"),
    "bilevel.tif": saved(tifffile.imwrite, DEEP > 2000, photometric="minisblack"),
    "big.tif": saved(tifffile.imwrite, DEEP, bigtiff=True),
    "imagej.tif": saved(tifffile.imwrite, STACK, imagej=True),
    "a.npy": saved(np.save, STACK),
    "a.npz": saved(np.savez_compressed, a=STACK, b=np.arange(3)),
    "cube.fits": fits_file(fits.PrimaryHDU(STACK)),
    "described.fits": described_fits(),
    "rice.fits": tiles(DEEP, "RICE_1"),
    "quantised.fits": tiles(DEEP * np.float32(1.01), "RICE_1"),
    "gzip.fits": tiles(DEEP, "GZIP_1"),
    "packed.fits.gz": gzip.compress(fits_file(fits.PrimaryHDU(DEEP))),
    "packed.npy.bz2": bz2.compress(saved(np.save, DEEP)),
}
APART = {
    "hcompress.fits": tiles(DEEP.astype(np.int32), "HCOMPRESS_1"),
    "plio.fits": tiles((DEEP > 3900).astype(np.int16), "PLIO_1"),
}
"""Files that are decoded in a process of its own, which takes a second or more."""
