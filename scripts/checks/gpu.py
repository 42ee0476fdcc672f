"""GPU memory and streams through the CUDA driver (ctypes, nothing to build), for tests and measurements.

    with gpu.Gpu() as device:
        data = device.put(numpy_array)
        device.stream, device.synchronise(), data.get()
"""

import ctypes
import sys

import numpy as np


class NoGpu(Exception):
    """There is no usable GPU; the text says why."""


class Gpu:
    """The first GPU. Makes its primary context current and creates a stream."""

    def __init__(self):
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise NoGpu("no NVIDIA driver (libcuda.so.1)") from None
        if self._driver.cuInit(0) != 0:
            raise NoGpu("the NVIDIA driver does not start, or sees no GPU")
        self._context, self.stream = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), 0)
        self.call("cuCtxPushCurrent_v2", self._context)
        self.call("cuStreamCreate", ctypes.byref(self.stream), 1)
        name = ctypes.create_string_buffer(100)
        self.call("cuDeviceGetName", name, 100, 0)
        self.name = name.value.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call("cuStreamDestroy_v2", self.stream)
        self.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        self._driver.cuDevicePrimaryCtxRelease_v2(0)

    def call(self, name, *arguments):
        """Calls a function of the driver; an error code is an exception."""
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"{name} returns {code}")

    def is_busy(self):
        """Whether the stream has work that is not finished."""
        return self._driver.cuStreamQuery(self.stream) == 600  # CUDA_ERROR_NOT_READY

    def synchronise(self):
        self.call("cuStreamSynchronize", self.stream)

    def allocate(self, size):
        """Allocates GPU memory of `size` bytes, not initialised."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return Memory(self, address.value)

    def put(self, array):
        """Allocates GPU memory with a copy of the array."""
        array = np.ascontiguousarray(array)
        memory = self.allocate(array.nbytes)
        memory.set(array)
        return memory

    def pinned(self):
        """A 32-bit word of CPU memory that the GPU can write; it is 0."""
        address = ctypes.c_void_p()
        self.call("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(4))
        word = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint32))
        word[0] = 0
        return word

    def copy(self, to, source, size):
        """Copies `size` bytes from GPU address to GPU address, asynchronously on the stream."""
        self.call("cuMemcpyDtoDAsync_v2", ctypes.c_uint64(to), ctypes.c_uint64(source), ctypes.c_size_t(size),
                  self.stream)

    def seconds(self, work, repeat):
        """The median time of work() on the stream in seconds, of `repeat` calls, measured with events."""
        events = [ctypes.c_void_p() for _ in range(repeat + 1)]
        for event in events:
            self.call("cuEventCreate", ctypes.byref(event), 0)
        work()
        self.synchronise()
        self.call("cuEventRecord", events[0], self.stream)
        for event in events[1:]:
            work()
            self.call("cuEventRecord", event, self.stream)
        self.synchronise()

        times, elapsed = [], ctypes.c_float()
        for start, end in zip(events, events[1:]):
            self.call("cuEventElapsedTime", ctypes.byref(elapsed), start, end)
            times.append(elapsed.value / 1000)
        return float(np.median(times))


class Memory:
    """GPU memory, which is freed with this object. `address` is its GPU address."""

    def __init__(self, gpu, address):
        self._gpu, self.address = gpu, address

    def __del__(self):
        self._gpu._driver.cuMemFree_v2(ctypes.c_uint64(self.address))

    def set(self, array):
        """Copies the array to the start of this memory."""
        if array.nbytes:
            size = ctypes.c_size_t(array.nbytes)
            self._gpu.call("cuMemcpyHtoD_v2", ctypes.c_uint64(self.address), ctypes.c_void_p(array.ctypes.data), size)

    def get(self, count, dtype, offset=0):
        """Returns a copy of `count` values from `offset`, which is in bytes."""
        array = np.empty(count, dtype)
        if array.nbytes:
            place = ctypes.c_uint64(self.address + offset)
            self._gpu.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), place, ctypes.c_size_t(array.nbytes))
        return array


class Library:
    """The functions of libgfpq_gpu.so.1 for GPU memory, by dtype.

    `in_place` quantises in place, `to` into another array, `with_range` with a range that is in GPU memory.
    """

    def __init__(self, path):
        library = ctypes.CDLL(str(path))
        self.in_place, self.to, self.with_range = {}, {}, {}
        address, pointer, number = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint
        for dtype, t in ((np.float32, "f"), (np.float64, "d")):
            names = {
                f"_Z27HI_GFPQ_QuantAndDeQuant_GPUP{t}jjP14_GFPQ_PARAM_STPvS2_": (
                    self.in_place, [address, number, number, pointer, pointer, pointer]),
                f"_Z26GFPQ_QuantAndDeQuantTo_GPUPK{t}P{t}jjP14_GFPQ_PARAM_STPjPv": (
                    self.to, [address, address, number, number, pointer, pointer, pointer]),
                f"_Z29GFPQ_QuantAndDeQuantRange_GPUPK{t}P{t}jjS1_PjPv": (
                    self.with_range, [address, address, number, number, address, pointer, pointer]),
            }
            for name, (calls, types) in names.items():
                call = getattr(library, name)
                call.argtypes, call.restype = types, number
                calls[np.dtype(dtype)] = call


def check(code):
    """Ends the program if the GFPQ library returned an error code."""
    if code != 0:
        sys.exit(f"the GFPQ library returns {code:#010x}")
