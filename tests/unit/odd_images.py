"""Image files of every layout: how each is made, and the right pixels or the words of its refusal.

The picture is 24 x 20 pixels and not symmetric; no file comes from elsewhere.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
from PIL import Image, ImageCms

WIDTH, HEIGHT = 24, 20


def picture() -> np.ndarray:
    """uint8 (20, 24, 3): ramps, and a rectangle."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([rows * 12, columns * 10, 255 - rows * 6 - columns * 4], 2).astype(np.uint8)
    pixels[4:9, 3:11] = (200, 30, 90)
    return pixels


RGB = picture()
GREY = RGB[:, :, 0]
ALPHA = RGB[:, :, 1]
RGB16 = RGB.astype(np.uint16) * 257
GREY16 = GREY.astype(np.uint16) * 257


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Floats 0..255."""
    part = alpha.astype(np.float64)[:, :, None] / 255
    return colours * part + 255 * (1 - part)


def grey_of(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.reshape(HEIGHT, WIDTH, 1), 3, 2)


@dataclass(frozen=True)
class Odd:
    """A file and what is right."""

    make: Callable[[Path], Any]
    """Writes it."""
    right: np.ndarray | str
    """(H, W, 3) in 0..255, or words of the refusal."""
    within: float = 0.51
    """Levels of 255."""
    depth: int = 8


def tiff(pixels: np.ndarray, photometric: str, **options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(
        path, pixels, photometric=photometric, metadata=None, **options
    )


def pillow(image: Image.Image, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        # Copies, as Pillow leaves one format's settings with a picture for the next.
        if "append_images" in options:
            options["append_images"] = [one.copy() for one in options["append_images"]]
        image.copy().save(path, **options)

    return write


def text(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def patched(
    make: Callable[[Path], Any], change: Callable[[bytearray], Any]
) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        make(path)
        content = bytearray(path.read_bytes())
        changed = change(content)
        path.write_bytes(content if changed is None else changed)

    return write


def png(pixels: np.ndarray, kind: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG put together by hand; ``kind`` is its colour type."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = pixels.reshape(len(pixels), -1).astype(">u2" if depth == 16 else "u1")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(*one) for one in chunks)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def entry_of(content: bytes, tag: int) -> int:
    """Where a tag's entry stands in the first directory of a classic little-endian TIFF."""
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for index in range(count):
        at = start + 2 + 12 * index
        if struct.unpack_from("<H", content, at)[0] == tag:
            return at
    raise LookupError(tag)


def set_tag(tag: int, value: int, kind: int | None = None) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        at = entry_of(content, tag)
        if kind is not None:
            struct.pack_into("<H", content, at + 2, kind)
        struct.pack_into("<I", content, at + 8, value)

    return change


def first_tile_gone(content: bytearray) -> None:
    """The first tile is nowhere, as one that was never written."""
    (where,) = struct.unpack_from("<I", content, entry_of(content, 324) + 8)
    struct.pack_into("<I", content, where, 0)


def exif_of(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def byte_orientation(orientation: int) -> bytes:
    """EXIF that holds its orientation as a BYTE."""
    entry = struct.pack("<HHI", 0x0112, 1, 1) + bytes((orientation, 0, 0, 0))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def xmp_of(orientation: int) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def wide_gamut() -> bytes:
    """A profile of strong colours (about those of Display P3), by a gamma of 2.2."""
    return profile((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), 2.2)


def profile(
    red: tuple[float, float],
    green: tuple[float, float],
    blue: tuple[float, float],
    gamma: float,
    space: bytes = b"RGB ",
) -> bytes:
    """A colour profile of version 2 of these primaries (x, y), under D50."""
    white = np.array([0.9642, 1.0, 0.8249])
    d65 = np.array([0.95047, 1.0, 1.08883])
    corners = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    columns = corners * np.linalg.solve(corners, d65)
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    gain = np.diag((bradford @ white) / (bradford @ d65))
    columns = np.linalg.inv(bradford) @ gain @ bradford @ columns

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))

    curve = b"curv" + struct.pack(">4xIH2x", 1, round(gamma * 256))
    name = b"desc" + struct.pack(">4xI", 5) + b"test\0" + bytes(78 + 1)
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": xyz(white)}
    if space == b"RGB ":
        for index, letter in enumerate("rgb"):
            tags[f"{letter}XYZ".encode()] = xyz(columns[:, index])
            tags[f"{letter}TRC".encode()] = curve
    else:
        tags[b"kTRC"] = curve
    at = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += tag + struct.pack(">2I", at + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(data)
    header = struct.pack(
        ">I4xI4s4s4s6H4s4x4x8x8xI3i48x",
        *(size, 0x02400000, b"mntr", space, b"XYZ ", 2026, 1, 1, 0, 0, 0, b"acsp", 1),
        *(round(float(v) * 65536) for v in white),
    )
    return header + table + data


def converted(pixels: np.ndarray, content: bytes, mode: str | None = None) -> np.ndarray:
    """By LittleCMS through Pillow, relative colorimetric with black point compensation."""
    shown = ImageCms.profileToProfile(
        Image.fromarray(pixels, mode),
        ImageCms.ImageCmsProfile(io.BytesIO(content)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert shown is not None
    return np.asarray(shown)


def raw_profile(exif: bytes) -> bytes:
    """EXIF as the text in which older software keeps it in a PNG."""
    content = exif.removeprefix(b"Exif\0\0")
    return b"\nexif\n%8d\n" % len(content) + content.hex().encode() + b"\n"


def deep_jpeg2000(content: bytearray) -> None:
    """Samples said to have 16 bits."""
    at = content.find(b"\xff\x4f\xff\x51")
    for channel in range(3):
        content[at + 42 + 3 * channel] = 15


def psd(planes: np.ndarray, mode: int, depth: int) -> bytes:
    head = struct.pack(">H6xHIIHH", 1, len(planes), HEIGHT, WIDTH, depth, mode)
    data = planes.astype(">u2" if depth == 16 else "u1").tobytes()
    return b"8BPS" + head + struct.pack(">IIIH", 0, 0, 0, 0) + data


def ink_with_profile(path: Path) -> None:
    """CMYK of libvips' own profile, embedded."""
    source = pyvips.Image.new_from_array(RGB).copy(interpretation="srgb")
    source.icc_transform("cmyk", input_profile="srgb").tiffsave(str(path))


def ink_with_profile_right() -> np.ndarray:
    file = io.BytesIO(
        pyvips.Image.new_from_array(RGB)
        .copy(interpretation="srgb")
        .icc_transform("cmyk", input_profile="srgb")
        .tiffsave_buffer()
    )
    with Image.open(file) as opened:
        return converted(np.asarray(opened), opened.info["icc_profile"], "CMYK")


def reduced_first(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        small = np.ascontiguousarray(RGB[::2, ::2])
        file.write(small, photometric="rgb", subfiletype=1, metadata=None)
        file.write(RGB, photometric="rgb", metadata=None)


def by_vips(saver: str, pixels: np.ndarray, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = pyvips.Image.new_from_array(pixels)
        names = {2: "grey16" if pixels.dtype == np.uint16 else "b-w"}
        known = "rgb16" if pixels.dtype == np.uint16 else "srgb"
        image = image.copy(interpretation=names.get(pixels.ndim, known))
        getattr(image, saver)(str(path), **options)

    return write


image = Image.fromarray(RGB)
rgba = np.dstack([RGB, ALPHA])
premultiplied = np.dstack([np.rint(RGB * (ALPHA[:, :, None] / 255)), ALPHA]).astype(np.uint8)
ink = np.dstack([255 - RGB, np.full_like(GREY, 40)])
mixed = (255.0 - ink[:, :, :3]) * (255 - 40) / 255
turned = np.rot90(RGB, -1)  # as orientation 6 has it
P3 = wide_gamut()
GREY_GAMMA = profile((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), 1.4, b"GRAY")
palette16 = image.quantize(16)
two = [image, image.rotate(180)]

ODD: dict[str, Odd] = {
    # Bits and samples of TIFF
    "planar8.tif": Odd(
        tiff(RGB.transpose(2, 0, 1).copy(), "rgb", planarconfig="separate"), RGB
    ),
    "planar16.tif": Odd(
        tiff(RGB16.transpose(2, 0, 1).copy(), "rgb", planarconfig="separate"), RGB, depth=16
    ),
    "planar16-tiled.tif": Odd(
        tiff(
            RGB16.transpose(2, 0, 1).copy(),
            "rgb",
            planarconfig="separate",
            tile=(16, 16),
            compression="zlib",
        ),
        RGB,
        depth=16,
    ),
    "planar-alpha-tiled.tif": Odd(
        tiff(
            premultiplied.transpose(2, 0, 1).copy(),
            "rgb",
            planarconfig="separate",
            tile=(16, 16),
            extrasamples=["assocalpha"],
        ),
        over_white(RGB, ALPHA),
        within=1.5,
    ),
    "big-endian.tif": Odd(tiff(RGB16, "rgb", byteorder=">"), RGB, depth=16),
    "big-tiled.tif": Odd(tiff(RGB, "rgb", bigtiff=True, tile=(16, 16)), RGB),
    "predictor16.tif": Odd(
        tiff(RGB16, "rgb", compression="zlib", predictor=2), RGB, depth=16
    ),
    "white-is-zero8.tif": Odd(tiff(255 - GREY, "miniswhite"), grey_of(GREY)),
    "white-is-zero16.tif": Odd(tiff(65535 - GREY16, "miniswhite"), grey_of(GREY), depth=16),
    "white-is-zero-alpha16.tif": Odd(
        tiff(
            np.dstack([65535 - GREY16, ALPHA.astype(np.uint16) * 257]),
            "miniswhite",
            extrasamples=["unassalpha"],
        ),
        over_white(grey_of(GREY), ALPHA),
        depth=16,
    ),
    "white-is-zero-float.tif": Odd(
        tiff((1 - GREY / 255).astype(np.float32), "miniswhite"), grey_of(GREY), depth=16
    ),
    "grey-half.tif": Odd(
        tiff((GREY / 255).astype(np.float16), "minisblack"), grey_of(GREY), depth=16
    ),
    "rgb-float.tif": Odd(tiff((RGB / 255).astype(np.float32), "rgb"), RGB, depth=16),
    "rgba-float.tif": Odd(
        tiff((rgba / 255).astype(np.float32), "rgb", extrasamples=["unassalpha"]),
        over_white(RGB, ALPHA),
        depth=16,
    ),
    "float-beyond.tif": Odd(tiff((RGB / 100).astype(np.float32), "rgb"), "must lie in 0..1"),
    "rgb-double.tif": Odd(tiff(RGB / 255, "rgb"), "floating-point samples of 64 bits"),
    "int8.tif": Odd(tiff((RGB // 2).astype(np.int8), "rgb"), "signed samples of 8 bits"),
    "int16.tif": Odd(
        tiff(RGB.astype(np.int16) * 128, "rgb"), RGB * (128 / 257), depth=16
    ),
    "int16-negative.tif": Odd(
        tiff(RGB.astype(np.int16) - 9, "rgb"), "must be 0 to 65535"
    ),
    "uint32.tif": Odd(tiff(RGB.astype(np.uint32) * 257, "rgb"), RGB, depth=16),
    "uint32-beyond.tif": Odd(tiff(RGB.astype(np.uint32) << 20, "rgb"), "must be 0 to 65535"),
    "complex.tif": Odd(tiff(GREY.astype(np.complex64), "minisblack"), "complex samples"),
    "palette16.tif": Odd(pillow(palette16), np.asarray(palette16.convert("RGB"))),
    "bilevel-fax.tif": Odd(
        pillow(Image.fromarray(GREY > 100), compression="group4"),
        grey_of((GREY > 100) * 255.0),
    ),
    "cmyk8.tif": Odd(tiff(ink, "separated"), mixed, within=1),
    "cmyk16.tif": Odd(tiff(ink.astype(np.uint16) * 257, "separated"), mixed, depth=16),
    "cmyk-alpha.tif": Odd(
        tiff(np.dstack([ink, ALPHA]), "separated", extrasamples=["unassalpha"]),
        over_white(mixed, ALPHA),
        within=1,
    ),
    "chroma.tif": Odd(pillow(image.convert("YCbCr")), RGB, within=3),
    "lab.tif": Odd(
        pillow(image.convert("LAB")), np.asarray(image.convert("LAB").convert("RGB")), within=1
    ),
    "zstd.tif": Odd(pillow(image, compression="zstd"), RGB),
    "zstd16.tif": Odd(
        pillow(Image.fromarray(GREY16), compression="zstd"), "ZSTD in this layout"
    ),
    "webp-in.tif": Odd(
        by_vips("tiffsave", RGB, compression="webp", lossless=True), RGB
    ),
    "lzw-planar-tiled.tif": Odd(
        patched(
            tiff(
                RGB.transpose(2, 0, 1).copy(), "rgb", planarconfig="separate", tile=(16, 16)
            ),
            set_tag(259, 5),
        ),
        "planes apart, in tiles compressed by LZW",
    ),
    # Extra samples
    "extra-unspecified.tif": Odd(tiff(rgba, "rgb", extrasamples=["unspecified"]), RGB),
    "extra-alpha.tif": Odd(
        tiff(rgba, "rgb", extrasamples=["unassalpha"]), over_white(RGB, ALPHA)
    ),
    "extra-premultiplied.tif": Odd(
        tiff(premultiplied, "rgb", extrasamples=["assocalpha"]),
        over_white(RGB, ALPHA),
        within=1.5,
    ),
    "extra-two.tif": Odd(
        tiff(
            np.dstack([RGB, 255 - ALPHA, ALPHA]),
            "rgb",
            extrasamples=["unspecified", "unassalpha"],
        ),
        over_white(RGB, ALPHA),
    ),
    "grey-unspecified.tif": Odd(
        tiff(np.dstack([GREY, ALPHA]), "minisblack", extrasamples=["unspecified"]), grey_of(GREY)
    ),
    "grey-alpha16.tif": Odd(
        tiff(
            np.dstack([GREY16, ALPHA.astype(np.uint16) * 257]),
            "minisblack",
            extrasamples=["unassalpha"],
        ),
        over_white(grey_of(GREY), ALPHA),
        depth=16,
    ),
    "grey-premultiplied.tif": Odd(
        tiff(
            np.dstack([np.rint(GREY * (ALPHA / 255)).astype(np.uint8), ALPHA]),
            "minisblack",
            extrasamples=["assocalpha"],
        ),
        over_white(grey_of(GREY), ALPHA),
        within=1.5,
    ),
    # Pages and orientation
    "reduced-first.tif": Odd(reduced_first, RGB),
    "only-reduced.tif": Odd(tiff(RGB, "rgb", subfiletype=1), "reduced copies"),
    "two-pages.tif": Odd(pillow(two[0], save_all=True, append_images=two[1:]), RGB),
    "orientation6.tif": Odd(tiff(RGB, "rgb", extratags=[(274, 3, 1, 6, True)]), turned),
    "orientation-byte.tif": Odd(tiff(RGB, "rgb", extratags=[(274, 1, 1, 6, True)]), turned),
    "orientation-xmp.tif": Odd(
        tiff(RGB, "rgb", extratags=[(700, 1, len(xmp_of(6)), xmp_of(6), True)]), turned
    ),
    "orientation6.png": Odd(pillow(image, exif=exif_of(6)), turned),
    "orientation6.webp": Odd(pillow(image, exif=exif_of(6), lossless=True), turned),
    "orientation6.avif": Odd(
        pillow(image, exif=exif_of(6), quality=100, subsampling="4:4:4"), turned, within=6
    ),
    "orientation-byte.jpg": Odd(
        pillow(image, exif=byte_orientation(6), quality=100, subsampling=0), turned, within=4
    ),
    "orientation-xmp.jpg": Odd(
        pillow(image, xmp=xmp_of(6), quality=100, subsampling=0), turned, within=4
    ),
    "orientation-nonsense.jpg": Odd(
        pillow(image, exif=byte_orientation(9), quality=100, subsampling=0), RGB, within=4
    ),
    # PNG, JPEG, WebP, GIF, AVIF
    "grey16-key.png": Odd(
        text(png(GREY16, 0, 16, (b"tRNS", struct.pack(">H", int(GREY16[0, 0]))))),
        np.where(grey_of(GREY) == GREY[0, 0], 255, grey_of(GREY)),
        depth=16,
    ),
    "rgb16-key.png": Odd(
        text(png(RGB16, 2, 16, (b"tRNS", struct.pack(">3H", *map(int, RGB16[5, 5]))))),
        np.where((RGB[5, 5] == RGB).all(2, keepdims=True), 255, RGB),
        depth=16,
    ),
    "palette-key.png": Odd(
        pillow(palette16, transparency=3),
        np.asarray(Image.alpha_composite(
            Image.new("RGBA", (WIDTH, HEIGHT), "white"),
            Image.fromarray(np.dstack([
                np.asarray(palette16.convert("RGB")),
                np.where(np.asarray(palette16) == 3, 0, 255).astype(np.uint8),
            ])),
        ).convert("RGB")),
    ),
    "interlaced16.png": Odd(by_vips("pngsave", RGB16, interlace=True), RGB, depth=16),
    "bad-checksum.png": Odd(
        patched(text(png(RGB, 2, 8)), lambda c: c.__setitem__(-13, c[-13] ^ 1)), "may be damaged"
    ),
    "ink.jpg": Odd(pillow(Image.fromarray(ink, "CMYK"), quality=100), mixed, within=6),
    "frames.webp": Odd(
        pillow(two[0], save_all=True, append_images=two[1:], lossless=True), RGB
    ),
    "frames.gif": Odd(
        pillow(palette16, save_all=True, append_images=[palette16.rotate(180)]),
        np.asarray(palette16.convert("RGB")),
    ),
    "plain.avif": Odd(pillow(image, quality=100, subsampling="4:4:4"), RGB, within=6),
    "trailing.jpg": Odd(
        patched(pillow(image, quality=100, subsampling=0), lambda c: c + b"\0" * 999), RGB, within=4
    ),
    # Pillow's
    "plain.jp2": Odd(pillow(image, irreversible=False), RGB),
    "grey16.jp2": Odd(pillow(Image.fromarray(GREY16)), grey_of(GREY), depth=16),
    "plain.bmp": Odd(pillow(image), RGB),
    "plain.tga": Odd(pillow(image), RGB),
    "alpha.ico": Odd(
        pillow(Image.fromarray(rgba), sizes=[(WIDTH, HEIGHT)]), over_white(RGB, ALPHA), within=1
    ),
    "grey16.pgm": Odd(pillow(Image.fromarray(GREY16)), grey_of(GREY), depth=16),
    "plain.qoi": Odd(pillow(image), RGB),
    "plain.pcx": Odd(pillow(image), RGB),
    "plain.sgi": Odd(pillow(image), RGB),
    # Colour profiles
    "wide.png": Odd(pillow(image, icc_profile=P3), converted(RGB, P3), within=1.5),
    "wide.tif": Odd(pillow(image, icc_profile=P3), converted(RGB, P3), within=1.5),
    "wide16.tif": Odd(
        tiff(RGB16, "rgb", iccprofile=P3), converted(RGB, P3), within=1.5, depth=16
    ),
    "wide-float.tif": Odd(
        tiff((RGB / 255).astype(np.float32), "rgb", iccprofile=P3),
        converted(RGB, P3),
        within=1.5,
        depth=16,
    ),
    "wide.webp": Odd(
        pillow(image, icc_profile=P3, lossless=True), converted(RGB, P3), within=1.5
    ),
    "wide-alpha.png": Odd(
        pillow(Image.fromarray(rgba), icc_profile=P3),
        over_white(converted(RGB, P3), ALPHA),
        within=1.5,
    ),
    "wide-turned.png": Odd(
        pillow(image, icc_profile=P3, exif=exif_of(6)),
        np.rot90(converted(RGB, P3), -1),
        within=1.5,
    ),
    "grey-of-wide.tif": Odd(
        pillow(Image.fromarray(GREY), icc_profile=P3), converted(grey_of(GREY), P3), within=1.5
    ),
    "grey-gamma.png": Odd(
        pillow(Image.fromarray(GREY), icc_profile=GREY_GAMMA),
        converted(GREY, GREY_GAMMA),
        within=1.5,
    ),
    "srgb.png": Odd(
        pillow(image, icc_profile=ImageCms.ImageCmsProfile(
            ImageCms.createProfile("sRGB")).tobytes()),
        RGB,
        within=0,
    ),
    "profile-of-ink.png": Odd(pillow(image, icc_profile=GREY_GAMMA), RGB, within=0),
    "profile-broken.png": Odd(pillow(image, icc_profile=P3[:128] + bytes(300)), RGB, within=0),
    # What is cut short, and what is missing
    "tile-missing.tif": Odd(
        patched(tiff(RGB, "rgb", tile=(16, 16), compression="zlib"), first_tile_gone),
        "1 of 4 tiles are missing",
    ),
    "tile-beyond.tif": Odd(
        patched(tiff(RGB, "rgb", tile=(16, 16), compression="zlib"), lambda c: c[:-60]),
        "tiles are missing",
    ),
    "strip-beyond.tif": Odd(
        patched(tiff(RGB, "rgb", rowsperstrip=4), lambda c: c[:-60]), "strips are missing"
    ),
    "tile-zeroed.tif": Odd(
        patched(
            tiff(RGB, "rgb", tile=(16, 16), compression="zlib"),
            lambda c: c.__setitem__(slice(-60, None), bytes(60)),
        ),
        "may be damaged",
    ),
    "ends-early.jpg": Odd(
        patched(pillow(image, quality=95), lambda c: c[:700] + b"\xff\xd9"), "may be damaged"
    ),
    # What is no image, or none that is read
    "photo.heic": Odd(text(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)), "HEIC"),
    "photo.jxl": Odd(text(b"\xff\x0a" + bytes(99)), "JPEG XL"),
    "boxed.jxl": Odd(text(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99)), "JPEG XL"),
    "drawing.svg": Odd(
        text(b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'), "SVG"
    ),
    "page.pdf": Odd(text(b"%PDF-1.7\n"), "PDF"),
    "pointer.jpg": Odd(
        text(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"
    ),
    "page.jpg": Odd(text(b"<!DOCTYPE html>\n<html>"), "web page"),
    "zeros.png": Odd(text(bytes(4096)), "zeros"),
    "packed.jpg": Odd(text(b"PK\x03\x04" + bytes(99)), "archive"),
    "film.mp4": Odd(text(b"\0\0\0\x18ftypisom" + bytes(99)), "video"),
    "raw.dng": Odd(
        tiff(RGB, "rgb", subfiletype=1, extratags=[(50706, 1, 4, b"\1\4\0\0", True)]),
        "raw photograph",
    ),
    "scene.exr": Odd(text(b"v/1\x01" + bytes(99)), "OpenEXR"),
    "words.png": Odd(text(b"not an image\n" * 50), "it is no picture"),
    # Rarer ones
    "12-bits.tif": Odd(patched(tiff(GREY16, "minisblack"), set_tag(258, 12)), "samples of 12 bits"),
    "2-bits.tif": Odd(by_vips("tiffsave", GREY, bitdepth=2), grey_of((GREY >> 6) * 85.0)),
    "palette-of-greys.tif": Odd(
        tiff(GREY, "palette", colormap=np.stack([np.arange(256) * 257] * 3).astype(np.uint16)),
        grey_of(GREY),
    ),
    "packbits.tif": Odd(pillow(image, compression="packbits"), RGB),
    "one-strip-for-all.tif": Odd(patched(tiff(RGB, "rgb"), set_tag(278, 2**32 - 1, 4)), RGB),
    "white-is-zero-planar-tiled.tif": Odd(
        tiff(
            np.stack([255 - GREY, ALPHA]),
            "miniswhite",
            planarconfig="separate",
            tile=(16, 16),
            extrasamples=["unassalpha"],
        ),
        over_white(grey_of(GREY), ALPHA),
    ),
    "float-premultiplied.tif": Odd(
        tiff(
            (np.dstack([RGB * (ALPHA[:, :, None] / 255), ALPHA]) / 255).astype(np.float32),
            "rgb",
            extrasamples=["assocalpha"],
        ),
        over_white(RGB, ALPHA),
        depth=16,
    ),
    "float-predictor.tif": Odd(
        by_vips(
            "tiffsave", (RGB / 255).astype(np.float32), compression="deflate", predictor="float"
        ),
        RGB,
        depth=16,
    ),
    "mask.tif": Odd(patched(tiff(GREY, "minisblack"), set_tag(262, 4)), "a mask for pixels"),
    "logarithmic.tif": Odd(patched(tiff(RGB, "rgb"), set_tag(262, 32845)), "logarithmic LUV"),
    "no-such-compression.tif": Odd(patched(tiff(RGB, "rgb"), set_tag(259, 33333)), "33333"),
    "slide.tif": Odd(
        patched(tiff(RGB, "rgb", tile=(16, 16)), set_tag(259, 33005)), "JPEG 2000, which is not"
    ),
    "cmyk-profile.tif": Odd(ink_with_profile, ink_with_profile_right(), within=1.5),
    "grey-alpha16.png": Odd(
        text(png(np.dstack([GREY16, ALPHA.astype(np.uint16) * 257]), 4, 16)),
        over_white(grey_of(GREY), ALPHA),
        depth=16,
    ),
    "orientation-in-text.png": Odd(
        text(png(RGB, 2, 8, (b"tEXt", b"Raw profile type exif\0" + raw_profile(exif_of(6))))),
        turned,
    ),
    "several.jpg": Odd(
        pillow(
            two[0],
            format="MPO",
            save_all=True,
            append_images=two[1:],
            quality=100,
            subsampling=0,
        ),
        RGB,
        within=4,
    ),
    "rgb.jpg": Odd(pillow(image, quality=100, keep_rgb=True), RGB, within=2),
    "colour16.jp2": Odd(patched(pillow(image), deep_jpeg2000), "JPEG 2000 with colour of 16 bits"),
    "alpha.avif": Odd(
        pillow(Image.fromarray(rgba), quality=100, subsampling="4:4:4"),
        over_white(RGB, ALPHA),
        within=4,
    ),
    "10-bits.avif": Odd(
        by_vips(
            *("heifsave", RGB16), compression="av1", bitdepth=10, Q=100, subsample_mode="off"
        ),
        RGB,
        within=6,
        depth=16,
    ),
    "flat.psd": Odd(text(psd(RGB.transpose(2, 0, 1), 3, 8)), RGB),
    "ink.psd": Odd(text(psd(255 - ink.transpose(2, 0, 1), 4, 8)), mixed),
    "flat16.psd": Odd(text(psd(RGB16.transpose(2, 0, 1), 3, 16)), "PSD of a layout that is not"),
    "grey.pfm": Odd(
        text(b"Pf\n24 20\n-1.0\n" + (GREY[::-1] / 255).astype("<f4").tobytes()),
        grey_of(GREY),
        depth=16,
    ),
    "colour.pfm": Odd(text(b"PF\n24 20\n-1.0\n" + bytes(5760)), "a PFM in colour"),
    "any.pam": Odd(text(b"P7\nWIDTH 24\n"), "a PAM"),
    "text.ppm": Odd(
        text(b"P3\n24 20\n255\n" + b" ".join(str(v).encode() for v in RGB.ravel())), RGB
    ),
    "runs.tga": Odd(pillow(image, compression="tga_rle"), RGB),
    "interlaced.gif": Odd(pillow(palette16, interlace=1), np.asarray(palette16.convert("RGB"))),
}  # fmt: skip
