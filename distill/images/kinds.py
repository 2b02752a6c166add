"""Kinds of files by their first bytes: who decodes them, or what to do about those nobody does."""

import re
from typing import Literal, NamedTuple

Decoder = Literal["jpeg", "png", "tiff", "webp", "gif", "heif", "pillow"]

START = 512
"""Bytes of a file that tell its kind."""
READ_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"}
    | {".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi"}
    | {".sgi", ".tga", ".tif", ".tiff", ".webp"}
)
"""Endings, in lower case, of files that are taken for images in a folder."""


class Kind(NamedTuple):
    """A kind of file."""

    name: str
    """With its article, as a sentence has it."""
    decoder: Decoder | None
    """None where it is not read."""
    advice: str = ""
    """What to do about one that is not read, or Pillow's name of a format that it decodes."""


_CONVERT = "convert it to PNG, TIFF or JPEG first"
_DEVELOP = "develop it to TIFF or JPEG first"
_DRAWING = "export it as PNG at the size that you want"
_FETCH_AGAIN = "download the image itself again"
_UNPACK = "unpack it first"

_KINDS: tuple[tuple[bytes, Kind], ...] = (
    # What is read. The patterns are anchored at the file's first byte.
    (rb"\xff\xd8\xff", Kind("a JPEG", "jpeg")),
    (rb"\x89PNG\r\n\x1a\n", Kind("a PNG", "png")),
    (rb"II\*\0.{4}CR", Kind("a raw photograph (CR2)", None, _DEVELOP)),
    (rb"II[*+]\0|MM\0[*+]", Kind("a TIFF", "tiff")),
    (rb"RIFF....WEBP", Kind("a WebP", "webp")),
    (rb"GIF8[79]a", Kind("a GIF", "gif")),
    (rb"....ftyp(?:avif|avis)", Kind("an AVIF", "heif")),
    (rb"....ftyp(?:mif1|msf1|miaf).{4}(?:.{4}){0,12}?avi[fs]", Kind("an AVIF", "heif")),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", Kind("a BMP", "pillow", "BMP")),
    (rb"P[1-6][\s#]|Pf\s", Kind("a PNM", "pillow", "PPM")),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", Kind("a JPEG 2000", "pillow", "JPEG2000")),
    (rb"8BPS\0\x01", Kind("a PSD", "pillow", "PSD")),
    (rb"qoif", Kind("a QOI", "pillow", "QOI")),
    (rb"\0\0\x01\0[^\0]\0", Kind("an ICO", "pillow", "ICO")),
    (rb"\x0a[\0\x02\x03\x05]\x01[\x01\x02\x04\x08]", Kind("a PCX", "pillow", "PCX")),
    (rb"\x01\xda[\0\x01][\x01\x02]", Kind("an SGI image", "pillow", "SGI")),
    # What is not.
    (rb"....ftyp(?:he[iv][cxms]|mif1|msf1|miaf)", Kind("an HEIC photograph", None, _CONVERT)),
    (rb"....ftypcrx", Kind("a raw photograph (CR3)", None, _DEVELOP)),
    (rb"....ftyp|....moov|....mdat|\x1aE\xdf\xa3|RIFF....AVI ", Kind(
        "a video", None, "take a frame of it as PNG first"
    )),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", Kind("a JPEG XL", None, _CONVERT)),
    (rb"II\xbc\x01", Kind("a JPEG XR", None, _CONVERT)),
    (rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|\0MRM|FOVb", Kind("a raw photograph", None, _DEVELOP)),
    (rb"version https://git-lfs", Kind(
        "a pointer of Git LFS, not the file itself", None, "run 'git lfs pull' where it lies"
    )),
    (rb"(?i:\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!doctype svg[^>]*>\s*)?<svg[\s>])", Kind(
        "an SVG drawing", None, _DRAWING
    )),
    (rb"\x1f\x8b", Kind("a gzip archive (or a compressed SVG drawing)", None, _UNPACK)),
    (rb"%PDF", Kind("a PDF document", None, _DRAWING)),
    (rb"%!PS|\xc5\xd0\xd3\xc6", Kind("a PostScript drawing", None, _DRAWING)),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", Kind("a Windows metafile", None, _DRAWING)),
    (rb"PF\s", Kind("a PFM in colour", None, _CONVERT)),
    (rb"P7\s", Kind("a PAM", None, _CONVERT)),
    (rb"v/1\x01", Kind("an OpenEXR", None, "map its tones to PNG or TIFF first")),
    (rb"#\?RADIANCE|#\?RGBE", Kind("a Radiance HDR", None, "map its tones to PNG or TIFF first")),
    (rb"8BPS\0\x02", Kind("a PSB (large Photoshop document)", None, _CONVERT)),
    (rb"gimp xcf", Kind("a GIMP project", None, "export it as PNG first")),
    (rb"SIMPLE  =", Kind("a FITS file", None, _CONVERT)),
    (rb".{128}DICM", Kind("a DICOM file", None, _CONVERT)),
    (rb"DDS ", Kind("a DDS texture", None, _CONVERT)),
    (rb"icns", Kind("an Apple icon", None, _CONVERT)),
    (rb"BPG\xfb", Kind("a BPG", None, _CONVERT)),
    (rb"FLIF", Kind("a FLIF", None, _CONVERT)),
    (rb"farbfeld", Kind("a farbfeld image", None, _CONVERT)),
    (rb"\x93NUMPY", Kind("an array of NumPy", None, "save it as PNG or TIFF first")),
    (rb"\x89HDF", Kind("an HDF5 file", None, _CONVERT)),
    (rb"PK\x03\x04|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", Kind(
        "an archive", None, _UNPACK
    )),
    (rb".{257}ustar", Kind("a tar file", None, _UNPACK)),
    (rb"(?i:\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html|head|script))", Kind(
        "a web page", None, _FETCH_AGAIN
    )),
    (rb"(?i:\s*<\?xml)", Kind("an XML document", None, _FETCH_AGAIN)),
    (rb"\0{64}", Kind("zeros, where an image would start", None, f"damaged: {_FETCH_AGAIN}")),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _KINDS)
_BY_SUFFIX = {".tga": Kind("a TGA", "pillow", "TGA"), ".dib": Kind("a DIB", "pillow", "DIB")}
"""Their first bytes are numbers, and could be anything's."""


def identify(start: bytes, suffix: str = "") -> Kind | None:
    """Find the kind of a file; None for an unknown one.

    Args:
        start: its first ``START`` bytes, or all.
        suffix: of its name, for kinds that only that tells.
    """
    for pattern, kind in _COMPILED:
        if pattern.match(start):
            return kind
    return _BY_SUFFIX.get(suffix.lower())
