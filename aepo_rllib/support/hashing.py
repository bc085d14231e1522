"""Files whose digest is known when they have been written: nobody has to read them again."""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO


class HashedStream:
    """A file that is written from its beginning to its end.

    Args:
        stream: Of the file.

    Attributes:
        bytes: Written so far.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._digest, self.bytes = stream, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        """Write bytes, or a buffer of them."""
        self._digest.update(data)
        written = self._stream.write(data)
        self.bytes += memoryview(data).nbytes
        return written

    def hexdigest(self) -> str:
        """SHA-256 of what has been written."""
        return self._digest.hexdigest()

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.bytes

    def flush(self) -> None:
        """As a file's."""
        self._stream.flush()

    def fileno(self) -> int:
        """As a file's."""
        return self._stream.fileno()

    def close(self) -> None:
        """As a file's."""
        self._stream.close()
