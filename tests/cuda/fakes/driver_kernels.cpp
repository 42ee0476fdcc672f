// The fake driver's modules, and the kernels that it launches: those of
// kernels/quantise.cu, compiled for the CPU.
#include <string.h>

#include "cuda_on_host.hpp"
#include "driver.hpp"
#include "quantise.cu"

namespace {

using namespace fake;  // NOLINT

// Parameter i of a kernel.
template <typename T>
T Get(void** parameters, int i) {
  T value;
  memcpy(&value, parameters[i], sizeof(value));
  return value;
}

template <typename T>
std::function<void()> Range(void (*kernel)(const T*, gfpq::u64, int, T*,
    gfpq::Scratch*), void** p) {
  return std::bind(kernel, Get<const T*>(p, 0), Get<gfpq::u64>(p, 1),
      Get<int>(p, 2), Get<T*>(p, 3), Get<gfpq::Scratch*>(p, 4));
}

template <typename T>
std::function<void()> Apply(void (*kernel)(const T*, T*, gfpq::u64, int,
    const gfpq::Scratch*, gfpq::u32*), void** p) {
  return std::bind(kernel, Get<const T*>(p, 0), Get<T*>(p, 1),
      Get<gfpq::u64>(p, 2), Get<int>(p, 3), Get<const gfpq::Scratch*>(p, 4),
      Get<gfpq::u32*>(p, 5));
}

// The kernel of this name with its parameters, or an empty function.
std::function<void()> Bind(const std::string& name, void** p) {
#define FAKE_BIND(kernel) \
  if (name == "gfpq_range_" #kernel) return Range(gfpq_range_##kernel, p); \
  if (name == "gfpq_apply_" #kernel) return Apply(gfpq_apply_##kernel, p);
  FAKE_BIND(float_8)
  FAKE_BIND(float_16)
  FAKE_BIND(double_8)
  FAKE_BIND(double_16)
  return std::function<void()>();
}

}  // namespace

extern "C" {

CUresult cuModuleLoadData(CUcontext* module, const void* image) {
  FAKE_IN_CONTEXT(cuModuleLoadData)
  const char* kind = memcmp(image, "\x7f" "ELF", 4) == 0 ? "machine" : "ptx";
  Log("load %s on %d", kind, Current()->device);
  *module = Current();
  return Injected(kind);
}

CUresult cuModuleGetFunction(CUfunction* function, CUcontext module,
    const char* name) {
  FAKE_IN_CONTEXT(cuModuleGetFunction)
  *function = new Function{name, module, module->life};
  return 0;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int blocks,
    unsigned int blocks_y, unsigned int blocks_z, unsigned int threads,
    unsigned int threads_y, unsigned int threads_z, unsigned int shared,
    CUstream stream, void** parameters, void** extra) {
  FAKE_IN_CONTEXT(cuLaunchKernel)
  if (function->context != Current() || blocks_y * blocks_z != 1 ||
      threads_y * threads_z != 1 || shared != 0 || extra != NULL ||
      threads != gfpq::kThreads) {
    return kInvalidValue;
  }
  if (function->life != Current()->life) {
    return kInvalidHandle;
  }
  const bool range = function->name.find("range") != std::string::npos;
  Log("launch %s on %d, %u blocks, stream %p, source %p, destination %p, "
      "count %llu", function->name.c_str(), Current()->device, blocks, stream,
      Get<void*>(parameters, 0), range ? NULL : Get<void*>(parameters, 1),
      Get<gfpq::u64>(parameters, range ? 1 : 2));
  const std::function<void()> kernel = Bind(function->name, parameters);
  if (!kernel) {
    return kNotFound;
  }
  Enqueue(std::bind(host::Run, blocks, threads, kernel));
  return 0;
}

}
