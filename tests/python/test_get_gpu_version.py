"""scripts/get_gpu_version.sh with fake programs nvcc, nvidia-smi and gfpq, each a few lines of shell."""

import os
import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/get_gpu_version.sh"
NVCC = """case "$1" in
--version) echo 'Cuda compilation tools, release 11.8, V11.8.89' ;;
*) printf 'compute_90\\ncompute_86\\ncompute_50\\n' ;;
esac"""
OLD_NVCC = """case "$1" in
--version) echo 'Cuda compilation tools, release 10.2, V10.2.89' ;;
*) echo "nvcc fatal   : Unknown option '-list-gpu-arch'" >&2; exit 1 ;;
esac"""
SMI = """echo '0, NVIDIA H100, 9.0, 550.54.15'
echo '1, NVIDIA GeForce RTX 5090, 12.0, 550.54.15'"""
BROKEN_SMI = "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9"
OLD_SMI = "echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2"
NO_CAPABILITY = "echo '0, NVIDIA H100, [N/A], 550.54.15'"
GFPQ = """echo 'gfpq 1.0.0'
echo 'GPU  Tesla K80, compute capability 3.7, kernels from PTX built in'"""
NO_GPU = "echo 'GPU  none usable: no NVIDIA driver (libcuda.so.1) on this machine'"


class GetGpuVersion(unittest.TestCase):
    def lines(self, gfpq=NO_GPU, **programs):
        """The lines that the script prints with these programs on the path."""
        with tempfile.TemporaryDirectory() as folder:
            for name, script in {"gfpq": gfpq, **programs}.items():
                path = pathlib.Path(folder, name.replace("_", "-"))
                path.write_text(f"#!/bin/sh\n{script}\n")
                path.chmod(0o755)
            environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "GFPQ": "gfpq"}
            done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout.splitlines()

    def test_toolkit_gpus_and_options_are_printed(self):
        toolkit, *rest = self.lines(nvcc=NVCC, nvidia_smi=SMI)
        self.assertTrue(toolkit.startswith("CUDA toolkit: 11.8 ("), toolkit)
        self.assertEqual(rest, [
            "GPU 0: NVIDIA H100, compute capability 9.0, driver 550.54.15",
            "GPU 1: NVIDIA GeForce RTX 5090, compute capability 12.0, driver 550.54.15",
            "-gencode arch=compute_90,code=sm_90",
            "compute capability 12.0 is not one of this nvcc's: 50 86 90 ",
            "-gencode arch=compute_90,code=compute_90"])

    def test_error_messages_of_nvidia_smi_are_not_taken_for_gpus(self):
        all_known = [f"-gencode arch=compute_{number},code=sm_{number}" for number in (50, 86, 90)]
        for smi in (BROKEN_SMI, OLD_SMI, NO_CAPABILITY):
            rest = self.lines(nvcc=NVCC, nvidia_smi=smi)[1:]
            self.assertEqual(rest, ["GPU: none that nvidia-smi or gfpq shows", *all_known])

    def test_gfpq_info_is_used_if_nvidia_smi_gives_no_capability(self):
        toolkit, *rest = self.lines(nvcc=OLD_NVCC, nvidia_smi=OLD_SMI, gfpq=GFPQ)
        self.assertTrue(toolkit.startswith("CUDA toolkit: 10.2 ("), toolkit)
        self.assertEqual(rest, ["GPU 0: Tesla K80, compute capability 3.7", "-gencode arch=compute_37,code=sm_37"])


if __name__ == "__main__":
    unittest.main()
