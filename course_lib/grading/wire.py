"""How answers travel between processes: frames of JSON and ``.npy``, never pickle, and only plain types.

Everything that comes from a student's process is untrusted: sizes are capped, and a frame that isn't well formed is a `BadFrame`.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

HEAD = struct.Struct(">II")
"""Bytes of JSON, number of blobs; after the JSON each blob comes with its own length."""
BLOB = struct.Struct(">Q")
MAX_JSON = 32 * 2**20
MAX_BLOBS = 2**12
MAX_BYTES = 256 * 2**20
"""Of all blobs of one frame."""
MAX_DEPTH = 40
KINDS = "biuf"
"""Arrays of booleans, integers and floats may cross."""


class BadFrame(Exception):
    """What came is no frame."""


class Ended(Exception):
    """The other side is gone."""


class TooLate(Exception):
    """The deadline passed before a whole frame had come."""


class NotPlain(TypeError):
    """A value that may not cross."""


Frame = tuple[dict[str, Any], list[bytes]]


def send(end: socket.socket, message: dict[str, Any], blobs: list[bytes] | None = None, deadline: float | None = None) -> None:
    """Send one frame.

    Raises:
        Ended: nobody reads any more.
        TooLate: nobody read it all before ``deadline`` (of `time.monotonic`).
    """
    text, blobs = json.dumps(message).encode(), blobs or []
    parts = [HEAD.pack(len(text), len(blobs)), text]
    for blob in blobs:
        parts += [BLOB.pack(len(blob)), blob]
    view = memoryview(b"".join(parts))
    try:
        while view:
            _wait(end, deadline)
            view = view[end.send(view) :]
    except TimeoutError:
        raise TooLate from None
    except OSError as error:
        raise Ended(str(error)) from None


def receive(end: socket.socket, deadline: float | None = None, most: int = MAX_BYTES) -> Frame:
    """Receive one frame.

    Raises:
        BadFrame: what came is too large or no frame.
        Ended: the other side closed, also in the middle of a frame.
        TooLate: it was not there whole by ``deadline`` (of `time.monotonic`).
    """
    size, count = HEAD.unpack(_exactly(end, HEAD.size, deadline))
    if size > MAX_JSON or count > MAX_BLOBS:
        raise BadFrame(f"{size} bytes of JSON and {count} blobs")
    text = _exactly(end, size, deadline)
    blobs: list[bytes] = []
    for _ in range(count):
        (length,) = BLOB.unpack(_exactly(end, BLOB.size, deadline))
        most -= length
        if most < 0:
            raise BadFrame("too many bytes")
        blobs.append(_exactly(end, length, deadline))
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFrame("no JSON") from None
    if not isinstance(message, dict):
        raise BadFrame("no message")
    return message, blobs


def _exactly(end: socket.socket, size: int, deadline: float | None) -> bytes:
    got = bytearray()
    try:
        while len(got) < size:
            _wait(end, deadline)
            part = end.recv(min(size - len(got), 2**20))
            if not part:
                raise Ended("closed")
            got += part
    except TimeoutError:
        raise TooLate from None
    except OSError as error:
        raise Ended(str(error)) from None
    return bytes(got)


def _wait(end: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        end.settimeout(None)
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    end.settimeout(left)


# -- values --------------------------------------------------------------------------------------------------------------------


def encode(value: Any, blobs: list[bytes], handle: Callable[[Any], dict[str, Any]] | None = None, depth: int = 0) -> Any:
    """A value as JSON, its arrays appended to ``blobs`` as ``.npy``.

    Args:
        value: None, bool, int, float, str, bytes, numpy numbers and arrays, torch tensors, and lists, tuples and dicts of them.
        blobs: the frame's blobs.
        handle: what stands for any other object; without it such an object is refused.
        depth: how deep ``value`` lies in lists and dicts.

    Raises:
        NotPlain: ``value`` may not cross.
    """
    import numpy as np

    if depth > MAX_DEPTH:
        raise NotPlain(f"lists in lists, more than {MAX_DEPTH} deep")
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int or (isinstance(value, int) and not isinstance(value, bool)):
        if int.bit_length(value) > 4000:
            raise NotPlain("a whole number of more than 4000 bits")
        return int.__int__(value)
    if isinstance(value, np.generic):
        return encode(value.item() if value.dtype.kind in KINDS + "US" else _refuse(value), blobs, handle, depth)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray):
        return {"bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, list | tuple):
        name = "tuple" if isinstance(value, tuple) else "list"
        return {name: [encode(part, blobs, handle, depth + 1) for part in value]}
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        return {"dict": [[encode(key, blobs), encode(part, blobs, handle, depth + 1)] for key, part in value.items()]}
    array = _as_array(value)
    if array is None:
        return _refuse(value) if handle is None else handle(value)
    if array.dtype.kind not in KINDS:
        raise NotPlain(f"an array of {array.dtype}")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    blobs.append(stream.getvalue())
    return {"array": len(blobs) - 1}


def decode(coded: Any, blobs: list[bytes], handle: Callable[[dict[str, Any]], Any] | None = None, depth: int = 0) -> Any:
    """The value of what `encode` made, as exact base types.

    Raises:
        BadFrame: it isn't what `encode` makes.
    """
    if depth > MAX_DEPTH + 1:
        raise BadFrame("too deep")
    if coded is None or isinstance(coded, bool | int | float | str):
        return coded
    if not isinstance(coded, dict) or not coded:
        raise BadFrame("no value")
    try:
        if "handle" in coded:
            if handle is None or not isinstance(coded["handle"], int):
                raise BadFrame("an object")
            return handle(coded)
        ((kind, inside),) = coded.items()
        if kind == "bytes":
            return base64.b64decode(inside, validate=True)
        if kind in ("list", "tuple") and isinstance(inside, list):
            parts = [decode(part, blobs, handle, depth + 1) for part in inside]
            return tuple(parts) if kind == "tuple" else parts
        if kind == "dict":
            return {decode(key, blobs): decode(part, blobs, handle, depth + 1) for key, part in inside}
        if kind == "array" and isinstance(inside, int) and 0 <= inside < len(blobs):
            return _array(blobs[inside])
    except (ValueError, TypeError):
        raise BadFrame("no value") from None
    raise BadFrame("no value")


def _array(blob: bytes) -> Any:
    """A numeric array out of ``.npy`` bytes from a stranger."""
    import numpy as np

    try:
        array = np.lib.format.read_array(io.BytesIO(blob), allow_pickle=False, max_header_size=1000)
    except Exception as error:  # whatever numpy finds wrong with a stranger's bytes
        raise BadFrame(f"no array: {type(error).__name__}") from None
    if array.dtype.kind not in KINDS or array.dtype.hasobject:
        raise BadFrame(f"an array of {array.dtype}")
    return array


def _as_array(value: Any) -> Any:
    """A numpy array for numpy arrays and torch tensors, None for everything else."""
    import sys

    import numpy as np

    if isinstance(value, np.ndarray):
        return np.asarray(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        plain = value.detach().cpu()
        plain = plain.to_dense() if plain.layout != torch.strided else plain
        return (plain.float() if plain.dtype in (torch.bfloat16, torch.float16) else plain).numpy()
    return None


def _refuse(value: Any) -> Any:
    raise NotPlain(f"a value of type {type(value).__name__}")
