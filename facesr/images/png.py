"""The chunks of PNG files, of which Pillow shows only some."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}


@dataclass(frozen=True)
class Chunk:
    """One chunk of a PNG: name, content and checksum. They are shorter if the file ends within it."""

    name: bytes
    body: bytes
    checksum: bytes

    @property
    def is_cut(self) -> bool:
        """Whether the file ends within it."""
        return len(self.checksum) < 4

    @property
    def is_sound(self) -> bool:
        """Whether its checksum is correct."""
        return self.checksum == _checksum(self.name, self.body)

    @property
    def is_critical(self) -> bool:
        """Whether the pixels cannot be decoded without it."""
        return self.name[:1].isupper()


def read_chunks(stream: BinaryIO) -> Iterator[Chunk]:
    """Yield all chunks of a PNG. If the file ends too early, the last one is cut."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(len(MAGIC))
    while len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if not re.fullmatch(rb"[A-Za-z]{4}", name):
            return
        body = stream.read(min(length, size))
        yield Chunk(name, body, stream.read(4))
        if name == b"IEND":
            return


def write_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG file made of chunks, each given by name and content."""
    parts = (struct.pack(">I", len(body)) + name + body + _checksum(name, body) for name, body in chunks)
    return MAGIC + b"".join(parts)


def _checksum(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def complete_png(content: bytes) -> bytes | None:
    """Return a truncated or damaged PNG with all readable pixels, and black ones after them.

    None if not even the first row of pixels can be read.
    """
    before: list[tuple[bytes, bytes]] = []
    data = b""
    for chunk in read_chunks(io.BytesIO(content)):
        if chunk.name == b"IDAT":
            data += chunk.body
        elif not data and chunk.is_sound and chunk.name not in _ANIMATION:
            before.append((chunk.name, chunk.body))
        elif not data and chunk.is_critical:
            return None
    if not before or before[0][0] != b"IHDR":
        return None
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", before[0][1])
    row = 1 + -(-width * depth * _CHANNELS[colour] // 8)
    # The seven passes of an interlaced image have at most twice as many rows, and more ends of rows.
    wanted = (row + 1) * (2 * height + 7) if interlace else row * height
    rows = bytearray()
    decompressor = zlib.decompressobj()
    try:
        for at in range(0, len(data), 1024):  # in pieces, since a damaged one yields nothing
            rows += decompressor.decompress(data[at : at + 1024], wanted)
            if len(rows) >= wanted:
                break
    except zlib.error:
        pass
    if len(rows) < row:
        return None
    rows += bytes(max(0, wanted - len(rows)))
    return write_chunks(*before, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
