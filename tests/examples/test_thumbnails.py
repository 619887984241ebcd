"""The thumbnails example: its PNG code by itself, and the handler in memory with real processes."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.loading import example_module
from protoqueue.testing import in_memory

with example_module("thumbnails", "png") as png:
    pass


@pytest.fixture
def workers() -> Iterator[ModuleType]:
    with example_module("thumbnails", "workers") as module:
        yield module


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_what_is_encoded_is_decoded(width: int, height: int, data: st.DataObject) -> None:
    size = width * height * 3
    picture = png.Picture(width, height, data.draw(st.binary(min_size=size, max_size=size)))
    assert png.decode(png.encode(picture)) == picture


@pytest.mark.parametrize(
    ("filter_type", "second_row"),
    [
        (0, [10, 20, 30, 40, 50, 60]),
        (1, [10, 20, 30, 30, 30, 30]),
        (2, [9, 18, 27, 36, 45, 54]),
        (3, [10, 19, 29, 33, 38, 42]),
        (4, [9, 18, 27, 30, 30, 30]),
    ],
    ids=["none", "sub", "up", "average", "paeth"],
)
def test_every_row_filter_is_undone(filter_type: int, second_row: list[int]) -> None:
    rows = bytes([0, 1, 2, 3, 4, 5, 6, filter_type, *second_row])
    header = struct.pack(">II", 2, 2) + png.RGB_8_BIT
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = png.SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    assert list(png.decode(data).pixels) == [1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60]


def test_a_pixel_of_the_small_picture_is_the_mean_of_a_square() -> None:
    pixels = bytes([0, 0, 9] * 2 + [100, 0, 9] * 2 + [0, 40, 9] * 2 + [100, 40, 9] * 2)
    assert png.Picture(4, 2, pixels).box_scaled(2) == png.Picture(2, 1, bytes([0, 20, 9, 100, 20, 9]))


@pytest.mark.parametrize("damage", [lambda d: d[:40], lambda d: d[:50] + b"x" + d[51:], lambda d: b"GIF89a" + d])
def test_damaged_bytes_are_no_picture(damage: object) -> None:
    data = png.encode(png.Picture(40, 40, bytes(range(240)) * 20))
    with pytest.raises(png.NotAPicture):
        png.decode(damage(data))  # type: ignore[operator]


async def test_good_uploads_get_thumbnails_and_damaged_ones_dead_letters(workers: ModuleType, tmp_path: Path) -> None:
    good, bad = (
        workers.Upload(source=tmp_path / f"{name}.png", target=tmp_path / f"{name}-small.png", factor=2)
        for name in ("good", "bad")
    )
    good.source.write_bytes(png.encode(png.Picture(8, 6, bytes(144))))
    bad.source.write_bytes(b"no picture")
    async with in_memory("default/thumbnails", group="scalers") as memory:
        queue = await memory.client.queue("default/thumbnails")
        await queue.enqueue_batch([good, bad])
        assert await workers.worker.run_once() == 2
        assert [letter.reason async for letter in queue.dead_letters()] == ["Rejected"]
    assert png.decode(good.target.read_bytes()) == png.Picture(4, 3, bytes(36))
    assert not bad.target.exists()
