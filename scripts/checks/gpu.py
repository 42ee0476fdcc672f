"""GPU memory and streams through the driver itself (ctypes, nothing to build), for tests and measurements.

    with gpu.Gpu() as device:
        data = device.put(numpy_array)
        device.stream, device.synchronise(), data.get()
"""

import ctypes
import sys

import numpy as np


class NoGpu(Exception):
    """Why there is no GPU to use."""


class Gpu:
    """The first GPU, its primary context current, with a stream."""

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
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"{name} returns {code}")

    def is_busy(self):
        """Whether work waits on the stream."""
        return self._driver.cuStreamQuery(self.stream) == 600

    def synchronise(self):
        self.call("cuStreamSynchronize", self.stream)

    def allocate(self, size):
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return Memory(self, address.value)

    def put(self, array):
        array = np.ascontiguousarray(array)
        memory = self.allocate(array.nbytes)
        memory.set(array)
        return memory

    def pinned(self):
        """A zeroed 32-bit word of CPU memory that the GPU can write."""
        address = ctypes.c_void_p()
        self.call("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(4))
        word = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint32))
        word[0] = 0
        return word

    def copy(self, to, source, size):
        """From GPU memory to GPU memory, on the stream."""
        self.call("cuMemcpyDtoDAsync_v2", ctypes.c_uint64(to), ctypes.c_uint64(source), ctypes.c_size_t(size), self.stream)

    def seconds(self, work, repeat):
        """Median time of `work` on the stream, by events."""
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
    """GPU memory, freed with the object."""

    def __init__(self, gpu, address):
        self._gpu, self.address = gpu, address

    def __del__(self):
        self._gpu._driver.cuMemFree_v2(ctypes.c_uint64(self.address))

    def set(self, array):
        if array.nbytes:
            size = ctypes.c_size_t(array.nbytes)
            self._gpu.call("cuMemcpyHtoD_v2", ctypes.c_uint64(self.address), ctypes.c_void_p(array.ctypes.data), size)

    def get(self, count, dtype, offset=0):
        array = np.empty(count, dtype)
        if array.nbytes:
            place = ctypes.c_uint64(self.address + offset)
            self._gpu.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), place, ctypes.c_size_t(array.nbytes))
        return array


class Library:
    """libgfpq_gpu.so.1's entry points for GPU memory, by dtype."""

    def __init__(self, path):
        library = ctypes.CDLL(str(path))
        self.in_place, self.to, self.with_range = {}, {}, {}
        pointer, number = ctypes.c_void_p, ctypes.c_uint
        for dtype, t in ((np.float32, "f"), (np.float64, "d")):
            names = {
                f"_Z27HI_GFPQ_QuantAndDeQuant_GPUP{t}jjP14_GFPQ_PARAM_STPvS2_": (
                    self.in_place, [ctypes.c_uint64, number, number, pointer, pointer, pointer]),
                f"_Z26GFPQ_QuantAndDeQuantTo_GPUPK{t}P{t}jjP14_GFPQ_PARAM_STPjPv": (
                    self.to, [ctypes.c_uint64, ctypes.c_uint64, number, number, pointer, pointer, pointer]),
                f"_Z29GFPQ_QuantAndDeQuantRange_GPUPK{t}P{t}jjS1_PjPv": (
                    self.with_range, [ctypes.c_uint64, ctypes.c_uint64, number, number, ctypes.c_uint64, pointer, pointer]),
            }
            for name, (calls, types) in names.items():
                call = getattr(library, name)
                call.argtypes, call.restype = types, number
                calls[np.dtype(dtype)] = call


def check(code):
    if code != 0:
        sys.exit(f"the GFPQ library returns {code:#010x}")
