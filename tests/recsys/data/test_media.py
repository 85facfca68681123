import io
import struct
import zlib

import pytest
from PIL import Image

from recsys.data.media import ImageLimits, decode, why_not

LIMITS = ImageLimits()
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def solid(colour=RED, size=(8, 6), mode="RGB"):
    return Image.new(mode, size, colour)


def half_red_half_blue():
    """Red left, blue right."""
    image = solid(RED, (64, 32))
    image.paste(BLUE, (32, 0, 64, 32))
    return image


def png_that_claims(width, height):
    """A PNG whose header announces a size that its few bytes do not hold."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats_are_accepted_and_keep_size_and_colour(kind):
    image = encoded(solid((200, 40, 90), (20, 10)), kind)
    assert why_not(image, LIMITS) is None
    pixels = decode(image)
    assert (pixels.mode, pixels.size) == ("RGB", (20, 10))
    assert all(abs(a - b) <= 4 for a, b in zip(pixels.getpixel((10, 5)), (200, 40, 90), strict=True))


def test_a_phone_jpeg_with_a_second_view_is_a_picture_not_an_animation():
    image = encoded(solid(RED), "MPO", save_all=True, append_images=[solid(BLUE)])
    assert why_not(image, LIMITS) is None
    assert decode(image).getpixel((0, 0))[0] > 240


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "empty picture"),
        (b"<html>not found</html>", "not a JPEG, PNG or WebP picture"),
        (encoded(solid(), "GIF"), "not a JPEG, PNG or WebP picture"),
        (encoded(half_red_half_blue(), "JPEG")[:-200], "picture that cannot be decoded"),
        (encoded(half_red_half_blue(), "PNG")[:-40], "picture that cannot be decoded"),
        (png_that_claims(5, 5), "picture that cannot be decoded"),
        (encoded(solid(), "PNG", save_all=True, append_images=[solid(BLUE)]), "animated picture"),
        (encoded(solid(), "WEBP", save_all=True, append_images=[solid(BLUE)]), "animated picture"),
        (png_that_claims(8001, 8000), "picture with too many pixels"),
        (png_that_claims(10_000, 10_000), "picture with too many pixels"),  # Pillow warns
        (png_that_claims(60_000, 60_000), "picture with too many pixels"),  # Pillow raises
    ],
)
def test_each_fault_has_its_reason(image, reason):
    assert why_not(image, LIMITS) == reason


def test_the_limit_counts_pixels_and_is_inclusive():
    image = encoded(solid(size=(10, 10)))
    assert why_not(image, ImageLimits(max_pixels=100)) is None
    assert why_not(image, ImageLimits(max_pixels=99)) == "picture with too many pixels"


def test_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    pixels = decode(encoded(half_red_half_blue(), "JPEG", exif=exif, quality=95))
    assert pixels.size == (32, 64)
    assert pixels.getpixel((16, 5))[0] > 200  # what was left is now on top
    assert pixels.getpixel((16, 60))[2] > 200


def test_transparency_is_laid_on_white():
    clear = encoded(solid((0, 0, 0, 0), mode="RGBA"))
    assert decode(clear).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((1, 1), 1)
    pixels = decode(encoded(palette, transparency=0))
    assert pixels.getpixel((0, 0)) == (255, 255, 255)
    assert pixels.getpixel((1, 1)) == (255, 0, 0)


def test_a_large_jpeg_may_be_decoded_small_but_not_below_the_size_asked_for():
    image = encoded(solid(size=(1600, 800)), "JPEG")
    assert decode(image, at_least=224).size == (800, 400)
    assert decode(image, at_least=100).size == (200, 100)
    assert decode(image).size == (1600, 800)
