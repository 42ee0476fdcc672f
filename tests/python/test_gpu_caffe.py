"""Quant layers in a GPU build of Caffe. scripts/test_gpu.sh sets GFPQ_GPU_CAFFE to its root."""

import ctypes
import os
import pathlib
import tempfile
import unittest

from checks import gpu

NET = """
layer { name: 'data' type: 'DummyData' top: 'data'
        dummy_data_param { shape { dim: 64 dim: 64 dim: 32 dim: 32 } data_filler { type: 'gaussian' } } }
layer { name: 'quant' type: 'Quant' bottom: 'data' top: 'quant' }
"""
# Copies that keep a fast GPU busy for a tenth of a second; Forward must return earlier.
SIZE, COPIES = 1 << 28, 400


def setUpModule():
    if "GFPQ_GPU_CAFFE" not in os.environ:
        raise unittest.SkipTest("SKIPPED: no GPU build of Caffe (GFPQ_GPU_CAFFE)")
    global device, caffe
    try:
        device = gpu.Gpu()
    except gpu.NoGpu as reason:
        raise unittest.SkipTest(f"SKIPPED: {reason}")
    # Caffe works on the default stream.
    device.stream = ctypes.c_void_p(0)
    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe

    caffe.set_device(0)
    caffe.set_mode_gpu()


class QuantInCaffe(unittest.TestCase):
    def test_forward_does_not_wait_for_the_gpu(self):
        busy = device.allocate(2 * SIZE)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "net.prototxt")
            path.write_text(NET)
            for phase in (caffe.TRAIN, caffe.TEST):
                net = caffe.Net(str(path), phase)
                # The first pass allocates memory and reads the range, so it may wait.
                for _ in range(2):
                    net._forward(0, 1)
                device.synchronise()
                for _ in range(COPIES):
                    device.copy(busy.address, busy.address + SIZE, SIZE)
                net._forward(1, 1)
                self.assertTrue(device.is_busy(), "the GPU was idle when Forward returned")
                device.synchronise()


if __name__ == "__main__":
    unittest.main()
