"""System calls that never wait, made without letting go of the interpreter's lock.

Python lets go of it at every system call, and while the daemon's other thread is at work gets it back only when that
one's time slice is over: hundreds of microseconds, for a call that takes one.
"""

import ctypes
import os
import socket

_libc = ctypes.PyDLL(None, use_errno=True)
_send, _recv = _libc.send, _libc.recv
_send.argtypes = _recv.argtypes = ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
_send.restype = _recv.restype = ctypes.c_ssize_t
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


def send(descriptor: int, data: bytes) -> int:
    """Put `data` into a socket; how much of it went in. Raises OSError."""
    count: int = _send(descriptor, data, len(data), _FLAGS)
    if count < 0:
        raise _error()
    return count


def drop(descriptor: int, most: int) -> int:
    """Take up to `most` bytes out of a socket; how many there were. Raises OSError (BlockingIOError: none)."""
    count: int = _recv(descriptor, ctypes.create_string_buffer(most), most, _FLAGS)
    if count < 0:
        raise _error()
    return count


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
