"""Forty uploads, one of them damaged, scaled to a quarter by workers that come and go."""

import math
from pathlib import Path

from png import Picture, decode, encode
from run import Check, Stage
from workers import Upload

import protoqueue

WIDTH, HEIGHT, FACTOR, COUNT = 320, 240, 4, 40


async def play(client: protoqueue.Client, stage: Stage) -> list[Check]:
    uploads = [store(stage.directory, number) for number in range(COUNT)]
    uploads[7].source.write_bytes(uploads[7].source.read_bytes()[:2000])

    queue = await client.queue("default/thumbnails")
    await queue.enqueue_batch(uploads)
    await stage.drained(queue)
    workers = await stage.workers("scalers")

    async def are_gone() -> bool:
        return not await stage.workers("scalers")

    await stage.until(are_gone, "the last worker has gone")

    letters = [letter async for letter in queue.dead_letters()]
    good = [upload for upload in uploads if upload is not uploads[7]]
    sizes = {(made.width, made.height) for made in (decode(upload.target.read_bytes()) for upload in good)}
    return [
        Check(f"workers came, {workers} of them, and went", workers > 0),
        Check(f"{len(good)} thumbnails were made", all(upload.target.exists() for upload in good)),
        Check(f"each is {WIDTH // FACTOR} by {HEIGHT // FACTOR}", sizes == {(WIDTH // FACTOR, HEIGHT // FACTOR)}),
        Check("each is as bright as its original", all(is_as_bright(upload) for upload in good)),
        Check("the damaged upload is a dead letter", [letter.reason for letter in letters] == ["Rejected"]),
    ]


def store(directory: Path, number: int) -> Upload:
    upload = Upload(source=directory / f"{number}.png", target=directory / f"{number}-small.png", factor=FACTOR)
    upload.source.write_bytes(encode(painted(number)))
    return upload


def painted(number: int) -> Picture:
    """Rings around a point that is another one in each picture."""
    center_x, center_y = WIDTH * (number % 8) / 8, HEIGHT * (number // 8) / 5
    rings = [
        int(127 + 127 * math.sin(math.hypot(x - center_x, y - center_y) / 9))
        for y in range(HEIGHT)
        for x in range(WIDTH)
    ]
    return Picture(WIDTH, HEIGHT, bytes(value for ring in rings for value in (ring, 255 - ring, number * 6)))


def is_as_bright(upload: Upload) -> bool:
    large, small = decode(upload.source.read_bytes()).pixels, decode(upload.target.read_bytes()).pixels
    return abs(sum(large) / len(large) - sum(small) / len(small)) < 1
