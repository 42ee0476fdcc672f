// The vendor's interface and its extensions (gfpq_ext.hpp), on the bridge:
// checks pointers, turns exceptions into return codes, and writes one line to
// stderr for each error.

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <array>
#include <exception>
#include <new>

#include "gfpq.hpp"
#include "gfpq_ext.hpp"
#include "gfpq/src/ffi/mod.rs.h"
#include "rust/cxx.h"

namespace {

int Fail(const char* function, unsigned int code, const char* why) {
  fprintf(stderr, "[ERR][%s] %s\n", function, why);
  return static_cast<int>(code);
}

// The what() of the bridge's errors is the return code in hexadecimal, then
// the text.
int Fail(const char* function, const rust::Error& error) {
  char* text = NULL;
  const unsigned long code = strtoul(error.what(), &text, 16);  // NOLINT
  while (*text == ' ') {
    ++text;
  }
  return Fail(function, static_cast<unsigned int>(code), text);
}

void QuantiseSlice(rust::Slice<float> data, uint32_t bits, uint32_t mode,
    gfpq::Param* param) {
  gfpq::quantise_f32(data, bits, mode, *param);
}

void QuantiseSlice(rust::Slice<double> data, uint32_t bits, uint32_t mode,
    gfpq::Param* param) {
  gfpq::quantise_f64(data, bits, mode, *param);
}

void QuantiseSlices(rust::Slice<const float> source,
    rust::Slice<float> destination, uint32_t bits, uint32_t mode,
    gfpq::Param* param) {
  gfpq::quantise_into_f32(source, destination, bits, mode, *param);
}

void QuantiseSlices(rust::Slice<const double> source,
    rust::Slice<double> destination, uint32_t bits, uint32_t mode,
    gfpq::Param* param) {
  gfpq::quantise_into_f64(source, destination, bits, mode, *param);
}

rust::Box<gfpq::Param> ReadParam(const GFPQ_PARAM_ST* param) {
  // INIT does not read the bytes: callers may leave them uninitialised.
  if (param == NULL || param->mode == GFPQ_MODE_INIT) {
    return gfpq::new_param();
  }
  return gfpq::param_from_bytes(
      rust::Slice<const uint8_t>(param->buf, GFPQ_PARAM_LEN));
}

// What is wrong with a tensor's address, or NULL if nothing is.
template <typename T>
const char* Flaw(const T* data) {
  if (data == NULL) {
    return "data is a null pointer";
  }
  if (reinterpret_cast<uintptr_t>(data) % sizeof(T) != 0) {
    return "data is not aligned to its type";
  }
  return NULL;
}

template <typename T>
bool Overlap(const T* source, const T* destination, unsigned int count) {
  const uintptr_t from = reinterpret_cast<uintptr_t>(source);
  const uintptr_t to = reinterpret_cast<uintptr_t>(destination);
  const uintptr_t size = static_cast<uintptr_t>(count) * sizeof(T);
  return from != to && (from < to ? to - from : from - to) < size;
}

// What is wrong with a pair of tensors, or NULL if nothing is.
template <typename T>
const char* Flaw(const T* source, const T* destination, unsigned int count) {
  const char* flaw = Flaw(source);
  if (flaw == NULL) {
    flaw = Flaw(destination);
  }
  if (flaw == NULL && Overlap(source, destination, count)) {
    flaw = "source and destination overlap";
  }
  return flaw;
}

// Whether the CPU can read the first values, as it cannot in GPU memory. The
// kernel reads the signal set at the address before it refuses the call, whose
// first argument is invalid: EFAULT means that it could not.
bool IsReadable(const void* data, size_t size) {
#ifdef __linux__
  // The system call costs more than quantising a few values: remember the last
  // page found readable.
  static thread_local uintptr_t readable_page = 0;
  const uintptr_t address = reinterpret_cast<uintptr_t>(data) & ~7ull;
  const uintptr_t page = address / 4096;
  if (size < 4096 && page == readable_page) {
    return true;
  }
  const int before = errno;
  const bool is_readable =
      syscall(SYS_rt_sigprocmask, ~0, address, NULL, 8) == 0 || errno != EFAULT;
  errno = before;
  if (is_readable) {
    readable_page = page;
  }
  return is_readable;
#else
  return true;
#endif
}

// Runs `body` unless there is a flaw; turns exceptions into return codes.
template <typename Body>
int Guarded(const char* function, const char* flaw, Body body) {
  if (flaw != NULL) {
    return Fail(function, GFPQ_ERR_BAD_PARAMETERS, flaw);
  }
  try {
    body();
    return GFPQ_SUCCESS;
  } catch (const rust::Error& error) {
    return Fail(function, error);
  } catch (const std::bad_alloc&) {
    return Fail(function, GFPQ_ERR_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return Fail(function, GFPQ_ERR_GENERIC, error.what());
  } catch (...) {
    return Fail(function, GFPQ_ERR_GENERIC, "unknown error");
  }
}

uint32_t Mode(const GFPQ_PARAM_ST* param) {
  return param == NULL ? static_cast<uint32_t>(GFPQ_MODE_INIT) : param->mode;
}

// Whether the call returns its scale in the parameter.
bool IsWritten(const GFPQ_PARAM_ST* param) {
  return param != NULL && param->mode != GFPQ_MODE_APPLY_ONLY;
}

void WriteParam(const gfpq::Param& scale, GFPQ_PARAM_ST* param) {
  if (IsWritten(param)) {
    const std::array<uint8_t, GFPQ_PARAM_LEN> bytes =
        gfpq::param_to_bytes(scale);
    std::copy(bytes.begin(), bytes.end(), param->buf);
  }
}

// Quantises from `source` into `destination`, or in place if they are the same.
template <typename T>
int Quantise(const char* function, const T* source, T* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param) {
  const size_t size = static_cast<size_t>(count) * sizeof(T);
  const char* flaw = Flaw(source, destination, count);
  if (flaw == NULL && size > 0 &&
      !(IsReadable(source, size) && IsReadable(destination, size))) {
    flaw = "data is not in CPU memory: for GPU memory call the function of "
        "this name that ends in _GPU";
  }
  return Guarded(function, flaw, [&] {
    rust::Box<gfpq::Param> scale = ReadParam(param);
    if (source == destination) {
      QuantiseSlice(rust::Slice<T>(destination, count), bits, Mode(param),
          &*scale);
    } else {
      QuantiseSlices(rust::Slice<const T>(source, count),
          rust::Slice<T>(destination, count), bits, Mode(param), &*scale);
    }
    WriteParam(*scale, param);
  });
}

template <typename T>
gfpq::GpuTensor Tensor(const T* source, T* destination, unsigned int count,
    unsigned int bits, unsigned int* nonfinite, void* stream) {
  gfpq::GpuTensor tensor;
  tensor.is_double = sizeof(T) == sizeof(double);
  tensor.source = reinterpret_cast<uintptr_t>(source);
  tensor.destination = reinterpret_cast<uintptr_t>(destination);
  tensor.count = count;
  tensor.bits = bits;
  tensor.nonfinite = reinterpret_cast<uintptr_t>(nonfinite);
  tensor.stream = reinterpret_cast<uintptr_t>(stream);
  return tensor;
}

template <typename T>
int QuantiseGpu(const char* function, const T* source, T* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param,
    unsigned int* nonfinite, void* stream) {
  return Guarded(function, Flaw(source, destination, count), [&] {
    rust::Box<gfpq::Param> scale = ReadParam(param);
    gfpq::quantise_gpu(
        Tensor(source, destination, count, bits, nonfinite, stream),
        Mode(param), *scale, IsWritten(param));
    WriteParam(*scale, param);
  });
}

template <typename T>
int QuantiseGpuWithRange(const char* function, const T* source, T* destination,
    unsigned int count, unsigned int bits, T* range, unsigned int* nonfinite,
    void* stream) {
  const char* flaw = Flaw(source, destination, count);
  if (flaw == NULL && Flaw(range) != NULL) {
    flaw = "range is a null pointer or not aligned to its type";
  }
  return Guarded(function, flaw, [&] {
    gfpq::quantise_gpu_with_range(
        Tensor(source, destination, count, bits, nonfinite, stream),
        reinterpret_cast<uintptr_t>(range));
  });
}

}  // namespace

int HI_GFPQ_QuantAndDeQuant(float* data, unsigned int count, unsigned int bits,
    GFPQ_PARAM_ST* param) {
  return Quantise("HI_GFPQ_QuantAndDeQuant", data, data, count, bits, param);
}

int HI_GFPQ_QuantAndDeQuant(double* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param) {
  return Quantise("HI_GFPQ_QuantAndDeQuant", data, data, count, bits, param);
}

int HI_GFPQ_QuantAndDeQuant_PY(float* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param) {
  return Quantise("HI_GFPQ_QuantAndDeQuant_PY", data, data, count, bits,
      param);
}

int GFPQ_QuantAndDeQuantTo(const float* source, float* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param) {
  return Quantise("GFPQ_QuantAndDeQuantTo", source, destination, count, bits,
      param);
}

int GFPQ_QuantAndDeQuantTo(const double* source, double* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param) {
  return Quantise("GFPQ_QuantAndDeQuantTo", source, destination, count, bits,
      param);
}

int HI_GFPQ_QuantAndDeQuant_GPU(float* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param, void* cuda_stream, void*) {
  return QuantiseGpu("HI_GFPQ_QuantAndDeQuant_GPU", data, data, count, bits,
      param, NULL, cuda_stream);
}

int HI_GFPQ_QuantAndDeQuant_GPU(double* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param, void* cuda_stream, void*) {
  return QuantiseGpu("HI_GFPQ_QuantAndDeQuant_GPU", data, data, count, bits,
      param, NULL, cuda_stream);
}

int HI_GFPQ_QuantAndDeQuant_GPU_PY(float* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param, void* cuda_stream, void*) {
  return QuantiseGpu("HI_GFPQ_QuantAndDeQuant_GPU_PY", data, data, count, bits,
      param, NULL, cuda_stream);
}

int GFPQ_QuantAndDeQuantTo_GPU(const float* source, float* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param,
    unsigned int* nonfinite, void* cuda_stream) {
  return QuantiseGpu("GFPQ_QuantAndDeQuantTo_GPU", source, destination, count,
      bits, param, nonfinite, cuda_stream);
}

int GFPQ_QuantAndDeQuantTo_GPU(const double* source, double* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param,
    unsigned int* nonfinite, void* cuda_stream) {
  return QuantiseGpu("GFPQ_QuantAndDeQuantTo_GPU", source, destination, count,
      bits, param, nonfinite, cuda_stream);
}

int GFPQ_QuantAndDeQuantRange_GPU(const float* source, float* destination,
    unsigned int count, unsigned int bits, float* range,
    unsigned int* nonfinite, void* cuda_stream) {
  return QuantiseGpuWithRange("GFPQ_QuantAndDeQuantRange_GPU", source,
      destination, count, bits, range, nonfinite, cuda_stream);
}

int GFPQ_QuantAndDeQuantRange_GPU(const double* source, double* destination,
    unsigned int count, unsigned int bits, double* range,
    unsigned int* nonfinite, void* cuda_stream) {
  return QuantiseGpuWithRange("GFPQ_QuantAndDeQuantRange_GPU", source,
      destination, count, bits, range, nonfinite, cuda_stream);
}

int HI_GFPQ_GetInfo(GFPQ_INFO_ST* info) {
  if (info == NULL) {
    return Fail("HI_GFPQ_GetInfo", GFPQ_ERR_BAD_PARAMETERS,
        "info is a null pointer");
  }
  memset(info, 0, sizeof(*info));
  info->u32LibVerMajor = GFPQ_VERSION_MAJOR;
  info->u32LibVerMinor = GFPQ_VERSION_MINOR;
  info->u32LibVerPatch = GFPQ_VERSION_PATCH;
  info->u32LibSoVer = 1;
  info->u32ComRevision = 139977;
  snprintf(info->u8BuildTime, sizeof(info->u8BuildTime), "%s",
      __DATE__ " " __TIME__);
  return GFPQ_SUCCESS;
}
