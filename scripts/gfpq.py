"""The GFPQ quantiser for NumPy arrays, through the library's own interface (ctypes, nothing to build).

    import gfpq
    y, delta = gfpq.quantise(x, bits=8)              # with the range of the data
    y, delta = gfpq.quantise(x, bits=8, delta=-77)   # with the range that this delta stands for

The library is the libgfpq.so.1 that the environment variable GFPQ_LIB names, or the one that scripts/package.sh built.
"""

import ctypes
import os
import pathlib

import numpy as np

# Modes: take the range from the data, widen the given range for the data, use the given range unchanged.
INIT, UPDATE, APPLY_ONLY = 0, 1, 2
ERRORS = {
    0xFFFF0000: "internal error",
    0xFFFF0005: "bad bit width or damaged parameter",
    0xFFFF0006: "unknown mode, or a pointer that is null, misaligned or of GPU memory",
    0xFFFF000C: "out of memory",
    0xFFFF0010: "buffer too short",
    0xFFFF0011: "no usable GPU",
}


class Param(ctypes.Structure):
    """The library's GFPQ_PARAM_ST: a mode, and a buffer that holds the range as delta with its check words."""

    _fields_ = [("mode", ctypes.c_uint), ("buf", ctypes.c_ubyte * 16)]

    @property
    def delta(self):
        """The range: its smallest magnitude is 2^(delta/16) in 8 bits, 2^(delta/128) in 16."""
        return int.from_bytes(self.buf[4:8], "little", signed=True)

    @delta.setter
    def delta(self, delta):
        mask = 0xFFFFFFFF
        n = ~delta & mask
        check = (n << 27 | n << 21 | n << 11 | n << 3) & mask
        words = (check, delta & mask, check ^ 0xA5A5A5A5, ~(check ^ 0xA5A5A5A5) & mask)
        self.buf[:] = b"".join(word.to_bytes(4, "little") for word in words)


class Library:
    """A libgfpq.so.1, this project's or the vendor's."""

    def __init__(self, path):
        library = ctypes.CDLL(str(path))
        self._calls = {}
        for dtype, letter in ((np.float32, "f"), (np.float64, "d")):
            call = library[f"_Z23HI_GFPQ_QuantAndDeQuantP{letter}jjP14_GFPQ_PARAM_ST"]
            call.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(Param)]
            call.restype = ctypes.c_uint
            self._calls[np.dtype(dtype)] = call

    def call(self, data, bits, param):
        """Quantises a contiguous float32 or float64 array in place, and updates `param`. Errors are exceptions."""
        if data.dtype not in self._calls or not data.flags.c_contiguous or not data.flags.writeable:
            raise TypeError("data must be a writeable, contiguous float32 or float64 array")
        code = self._calls[data.dtype](data.ctypes.data, data.size, bits, ctypes.byref(param))
        if code:
            raise ValueError(f"GFPQ error {code:#010x}: {ERRORS.get(code, 'unknown error')}")

    def quantise(self, array, bits=8, delta=None):
        """Returns a quantised copy of the array, and its delta: the given one, or that of the data."""
        array = np.asarray(array)
        dtype = array.dtype if array.dtype in self._calls else np.float32
        data = np.array(array, dtype=dtype, order="C")
        param = Param(mode=INIT if delta is None else APPLY_ONLY)
        if delta is not None:
            param.delta = delta
        self.call(data, bits, param)
        return data, param.delta


def default_path():
    """The path in GFPQ_LIB, or that of the library that scripts/package.sh built."""
    build = pathlib.Path(__file__).resolve().parent.parent / "target/dist/GFPQLibs/lib/libgfpq.so.1"
    return os.environ.get("GFPQ_LIB", build)


_library = None


def quantise(array, bits=8, delta=None):
    """Library.quantise with the default library."""
    global _library
    if _library is None:
        _library = Library(default_path())
    return _library.quantise(array, bits, delta)
