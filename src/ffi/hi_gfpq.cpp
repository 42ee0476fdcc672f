// The vendor's interface and its extensions (gfpq_ext.hpp), on the bridge:
// checks pointers, and writes one line to stderr for each error. Allocates
// nothing except for misaligned tensors, and has no thread_local variable: the
// first use of one allocates, and the process ends where that fails.

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <memory>

#include "gfpq.hpp"
#include "gfpq_ext.hpp"
#include "gfpq/src/ffi/mod.rs.h"
#include "rust/cxx.h"

namespace {

int Fail(const char* function, unsigned int code, const char* why) {
  fprintf(stderr, "[ERR][%s] %s\n", function, why);
  return static_cast<int>(code);
}

// Why the bridge refused a call: a line of text, set only if it did.
class Reason {
 public:
  Reason() { text_[0] = '\0'; }
  rust::Slice<uint8_t> buffer() {
    return rust::Slice<uint8_t>(reinterpret_cast<uint8_t*>(text_),
        sizeof(text_));
  }

  // The return code of a call that the bridge answered with `code`.
  int Report(const char* function, uint32_t code) const {
    return code == GFPQ_SUCCESS ? GFPQ_SUCCESS : Fail(function, code, text_);
  }

 private:
  char text_[512];
};

uint32_t Mode(const GFPQ_PARAM_ST* param) {
  return param == NULL ? static_cast<uint32_t>(GFPQ_MODE_INIT) : param->mode;
}

// The parameter's bytes; none without a parameter.
rust::Slice<uint8_t> Bytes(GFPQ_PARAM_ST* param) {
  return param == NULL ? rust::Slice<uint8_t>() :
      rust::Slice<uint8_t>(param->buf, GFPQ_PARAM_LEN);
}

uint32_t QuantiseSlice(rust::Slice<float> data, unsigned int bits,
    GFPQ_PARAM_ST* param, Reason* reason) {
  return gfpq::quantise_f32(data, bits, Mode(param), Bytes(param),
      reason->buffer());
}

uint32_t QuantiseSlice(rust::Slice<double> data, unsigned int bits,
    GFPQ_PARAM_ST* param, Reason* reason) {
  return gfpq::quantise_f64(data, bits, Mode(param), Bytes(param),
      reason->buffer());
}

uint32_t QuantiseSlices(rust::Slice<const float> source,
    rust::Slice<float> destination, unsigned int bits, GFPQ_PARAM_ST* param,
    Reason* reason) {
  return gfpq::quantise_into_f32(source, destination, bits, Mode(param),
      Bytes(param), reason->buffer());
}

uint32_t QuantiseSlices(rust::Slice<const double> source,
    rust::Slice<double> destination, unsigned int bits, GFPQ_PARAM_ST* param,
    Reason* reason) {
  return gfpq::quantise_into_f64(source, destination, bits, Mode(param),
      Bytes(param), reason->buffer());
}

template <typename T>
bool IsAligned(const T* data) {
  return reinterpret_cast<uintptr_t>(data) % sizeof(T) == 0;
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
  if (source == NULL || destination == NULL) {
    return "data is a null pointer";
  }
  if (Overlap(source, destination, count)) {
    return "source and destination overlap";
  }
  return NULL;
}

// The same for tensors in GPU memory, which must be aligned.
template <typename T>
const char* GpuFlaw(const T* source, const T* destination,
    unsigned int count) {
  const char* flaw = Flaw(source, destination, count);
  if (flaw == NULL && !(IsAligned(source) && IsAligned(destination))) {
    flaw = "data is not aligned to its type";
  }
  return flaw;
}

#ifdef __linux__
// The page that a thread last found readable, plus one; zero for none. Threads
// share a slot where their numbers clash, which only costs a system call.
struct alignas(64) Readable {
  std::atomic<uintptr_t> page;
};

Readable* OfThisThread() {
  static Readable slots[64];
  // Multiplied by 2^64 divided by the golden ratio, whose upper bits differ
  // for numbers that lie close together.
  const uint64_t thread = static_cast<uint64_t>(pthread_self());
  return &slots[thread * 0x9e3779b97f4a7c15u >> 58];
}
#endif

// Whether the CPU can read the first values, as it cannot in GPU memory. The
// kernel reads an event of 12 bytes at the address before it refuses the call,
// whose first argument is invalid: EFAULT means that it could not.
bool IsReadable(const void* data, size_t size) {
#ifdef __linux__
  // The system call costs more than quantising a few values: remember the last
  // page found readable.
  const uintptr_t address = reinterpret_cast<uintptr_t>(data) & ~15ull;
  const uintptr_t page = address / 4096 + 1;
  Readable* const readable = OfThisThread();
  if (size < 4096 && readable->page.load(std::memory_order_relaxed) == page) {
    return true;
  }
  const int before = errno;
  const bool is_readable =
      syscall(SYS_epoll_ctl, -1, EPOLL_CTL_ADD, -1, address) == 0 ||
      errno != EFAULT;
  errno = before;
  if (is_readable) {
    readable->page.store(page, std::memory_order_relaxed);
  }
  return is_readable;
#else
  return true;
#endif
}

// Quantises from `source` into `destination`, or in place if they are the same.
// Both are aligned.
template <typename T>
int QuantiseAligned(const char* function, const T* source, T* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param) {
  Reason reason;
  const rust::Slice<T> to(destination, count);
  const uint32_t code = source == destination ?
      QuantiseSlice(to, bits, param, &reason) :
      QuantiseSlices(rust::Slice<const T>(source, count), to, bits, param,
          &reason);
  return reason.Report(function, code);
}

struct Free {
  void operator()(void* memory) const { free(memory); }
};

// The same for tensors that may be misaligned, through an aligned copy.
template <typename T>
int QuantiseCopy(const char* function, const void* source, void* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param) {
  const size_t size = static_cast<size_t>(count) * sizeof(T);
  // Not by new, which throws an exception on its way to NULL, and that allocates.
  // One byte more, because malloc may return NULL for none.
  const std::unique_ptr<T, Free> copy(static_cast<T*>(malloc(size + 1)));
  if (copy == NULL) {
    return Fail(function, GFPQ_ERR_OUT_OF_MEMORY,
        "no memory for an aligned copy of misaligned data");
  }
  memcpy(copy.get(), source, size);
  const int code = QuantiseAligned(function, copy.get(), copy.get(), count,
      bits, param);
  if (code == GFPQ_SUCCESS) {
    memcpy(destination, copy.get(), size);
  }
  return code;
}

template <typename T>
int Quantise(const char* function, const T* source, T* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param) {
  const size_t size = static_cast<size_t>(count) * sizeof(T);
  const char* flaw = Flaw(source, destination, count);
  if (flaw == NULL && size > 0 &&
      !(IsReadable(source, size) &&
          (source == destination || IsReadable(destination, size)))) {
    flaw = "data is not in CPU memory: for GPU memory call the function of "
        "this name that ends in _GPU";
  }
  if (flaw != NULL) {
    return Fail(function, GFPQ_ERR_BAD_PARAMETERS, flaw);
  }
  if (!(IsAligned(source) && IsAligned(destination))) {
    return QuantiseCopy<T>(function, source, destination, count, bits, param);
  }
  return QuantiseAligned(function, source, destination, count, bits, param);
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
  const char* flaw = GpuFlaw(source, destination, count);
  if (flaw != NULL) {
    return Fail(function, GFPQ_ERR_BAD_PARAMETERS, flaw);
  }
  Reason reason;
  return reason.Report(function, gfpq::quantise_gpu(
      Tensor(source, destination, count, bits, nonfinite, stream), Mode(param),
      Bytes(param), reason.buffer()));
}

template <typename T>
int QuantiseGpuWithRange(const char* function, const T* source, T* destination,
    unsigned int count, unsigned int bits, T* range, unsigned int* nonfinite,
    void* stream) {
  const char* flaw = GpuFlaw(source, destination, count);
  if (flaw == NULL && (range == NULL || !IsAligned(range))) {
    flaw = "range is a null pointer or not aligned to its type";
  }
  if (flaw != NULL) {
    return Fail(function, GFPQ_ERR_BAD_PARAMETERS, flaw);
  }
  Reason reason;
  return reason.Report(function, gfpq::quantise_gpu_with_range(
      Tensor(source, destination, count, bits, nonfinite, stream),
      reinterpret_cast<uintptr_t>(range), reason.buffer()));
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
