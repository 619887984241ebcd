"""Enough of PNG (RFC 2083) for this example: 8-bit RGB, not interlaced, one IDAT stream."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB_8_BIT = struct.pack(">BBBBB", 8, 2, 0, 0, 0)


class NotAPicture(ValueError):
    """The bytes are no PNG, a damaged one, or one of a kind that this example does not read."""


@dataclass(frozen=True)
class Picture:
    """`pixels` holds three bytes for each pixel, row by row from the top."""

    width: int
    height: int
    pixels: bytes

    def box_scaled(self, factor: int) -> "Picture":
        """Smaller by a whole factor: each pixel is the mean of a square. What does not fill a square is cut off."""
        width, height, area = self.width // factor, self.height // factor, factor * factor
        made = bytearray()
        for row in range(height):
            sums = [0] * (width * 3)
            for line in range(row * factor, (row + 1) * factor):
                start = line * self.width * 3
                for shift in range(factor):
                    for channel in range(3):
                        first = start + shift * 3 + channel
                        values = self.pixels[first : start + width * factor * 3 : factor * 3]
                        sums[channel::3] = map(int.__add__, sums[channel::3], values)
            made += bytes(total // area for total in sums)
        return Picture(width, height, bytes(made))


def encode(picture: Picture) -> bytes:
    stride = picture.width * 3
    rows = b"".join(b"\0" + picture.pixels[start : start + stride] for start in range(0, len(picture.pixels), stride))
    header = struct.pack(">II", picture.width, picture.height) + RGB_8_BIT
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def decode(data: bytes) -> Picture:
    """Raises NotAPicture."""
    try:
        chunks = list(_chunks(data))
        kind, header = chunks[0]
        if kind != b"IHDR" or header[8:] != RGB_8_BIT:
            raise NotAPicture("this example reads 8-bit RGB only")
        width, height = struct.unpack(">II", header[:8])
        rows = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
        if len(rows) != height * (width * 3 + 1):
            raise NotAPicture("the picture is cut off")
        return Picture(width, height, _unfiltered(rows, width * 3))
    except (IndexError, struct.error, zlib.error) as error:
        raise NotAPicture(str(error)) from error


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(SIGNATURE):
        raise NotAPicture("this is no PNG")
    place = len(SIGNATURE)
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        if data[place + 8 + length : place + 12 + length] != struct.pack(">I", zlib.crc32(kind + content)):
            raise NotAPicture(f"chunk {kind!r} is damaged")
        yield kind, content
        place += 12 + length


def _unfiltered(rows: bytes, stride: int) -> bytes:
    """Undo what encoders do to each row so that it compresses better; the first byte of a row says which it was."""
    pixels, above = bytearray(), bytes(stride)
    for start in range(0, len(rows), stride + 1):
        row = bytearray(rows[start + 1 : start + 1 + stride])
        kind = rows[start]
        if kind > 4:
            raise NotAPicture(f"there is no row filter {kind}")
        for i in range(stride) if kind else ():
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            row[i] = (row[i] + (0, left, above[i], (left + above[i]) // 2, _paeth(left, above[i], corner))[kind]) % 256
        pixels += row
        above = bytes(row)
    return bytes(pixels)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
