// A driver, libcuda.so.1, whose two GPUs are the CPU. Work on a stream is queued
// until something waits for it, which is as late as a GPU may do it.
#include "driver.hpp"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace fake {

Context primaries[kGpus] = {{0, 0}, {1, 0}};
thread_local std::vector<CUcontext> stack;
std::map<CUdeviceptr, Block> memory;
std::vector<std::function<void()> > queue;
size_t queued = 0;
std::recursive_mutex mutex;

void Log(const char* format, ...) {
  const char* path = getenv("FAKE_CUDA_LOG");
  FILE* file = path == NULL ? NULL : fopen(path, "a");
  if (file != NULL) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fputc('\n', file);
    fclose(file);
  }
}

int Injected(const std::string& name) {
  const char* list = getenv("FAKE_CUDA_FAIL");
  const std::string all = std::string(",") + (list == NULL ? "" : list);
  const size_t at = all.find("," + name + "=");
  return at == std::string::npos ? 0 :
      atoi(all.c_str() + at + name.size() + 2);
}

void Enqueue(const std::function<void()>& work) {
  queue.push_back(work);
  ++queued;
}

CUcontext Current() {
  return stack.empty() ? NULL : stack.back();
}

}  // namespace fake

namespace {

using namespace fake;  // NOLINT

CUdeviceptr Allocate(size_t size, int kind, int device) {
  const CUdeviceptr address =
      reinterpret_cast<CUdeviceptr>(aligned_alloc(256, (size + 255) / 256 * 256));
  memory[address] = Block{size, kind, device};
  return address;
}

// Does all work that waits.
void Drain() {
  std::vector<std::function<void()> > work;
  work.swap(queue);
  for (size_t i = 0; i < work.size(); ++i) {
    work[i]();
  }
}

}  // namespace

extern "C" {

// For tests: pinned memory (kind 1), or a GPU's own (kind 2).
CUdeviceptr FakeAllocate(size_t size, int kind, int device) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  return Allocate(size, kind, device);
}

// For tests: what cuDevicePrimaryCtxReset does to what the context held.
void FakeReset(int device) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  ++primaries[device].life;
}

CUresult cuInit(unsigned int) {
  FAKE_BEGIN(cuInit)
  return 0;
}

CUresult cuDriverGetVersion(int* version) {
  *version = 12040;
  return 0;
}

CUresult cuDeviceGetCount(int* count) {
  FAKE_BEGIN(cuDeviceGetCount)
  *count = kGpus;
  return 0;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  FAKE_BEGIN(cuDeviceGet)
  *device = ordinal;
  return ordinal < kGpus ? 0 : 101;
}

CUresult cuDeviceGetName(char* name, int size, CUdevice device) {
  FAKE_BEGIN(cuDeviceGetName)
  snprintf(name, size, "Fake GPU %d", device);
  return 0;
}

CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  FAKE_BEGIN(cuDeviceGetAttribute)
  // Compute capabilities 9.0 and 8.6, and two multiprocessors.
  *value = attribute == 75 ? 9 - device : attribute == 76 ? 6 * device :
      attribute == 16 ? 2 : 0;
  return 0;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  FAKE_BEGIN(cuDevicePrimaryCtxRetain)
  Log("retain %d", device);
  *context = &primaries[device];
  return 0;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  FAKE_BEGIN(cuCtxGetCurrent)
  *context = Current();
  return 0;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  FAKE_IN_CONTEXT(cuCtxGetDevice)
  *device = Current()->device;
  return 0;
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
  FAKE_BEGIN(cuCtxPushCurrent)
  stack.push_back(context);
  return 0;
}

CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  FAKE_IN_CONTEXT(cuCtxPopCurrent)
  *context = Current();
  stack.pop_back();
  return 0;
}

CUresult cuCtxGetId(CUcontext context, unsigned long long* id) {
  FAKE_BEGIN(cuCtxGetId)
  *id = 100 + context->device + 10 * context->life;
  return 0;
}

CUresult cuPointerGetAttributes(unsigned int count, int* attributes,
    void** answers, CUdeviceptr pointer) {
  FAKE_BEGIN(cuPointerGetAttributes)
  Block block = {0, 0, -2};
  std::map<CUdeviceptr, Block>::iterator found = memory.upper_bound(pointer);
  if (found != memory.begin() &&
      pointer < (--found)->first + found->second.size) {
    block = found->second;
  }
  for (unsigned int i = 0; i < count; ++i) {
    *static_cast<int*>(answers[i]) = attributes[i] == 2 ? block.kind :
        attributes[i] == 9 ? block.device : 0;
  }
  return 0;
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t size) {
  FAKE_IN_CONTEXT(cuMemAlloc)
  Log("allocate %zu on %d", size, Current()->device);
  *address = Allocate(size, 2, Current()->device);
  return 0;
}

CUresult cuMemsetD8Async(CUdeviceptr address, unsigned char value,
    size_t size, CUstream stream) {
  FAKE_IN_CONTEXT(cuMemsetD8Async)
  Log("set %zu on stream %p", size, stream);
  Enqueue(std::bind(memset, reinterpret_cast<void*>(address), value,
      size));
  return 0;
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t size,
    CUstream stream) {
  FAKE_IN_CONTEXT(cuMemcpyDtoHAsync)
  Log("read %zu on stream %p", size, stream);
  Enqueue(std::bind(memcpy, to, reinterpret_cast<void*>(from), size));
  return 0;
}

CUresult cuEventCreate(CUevent* event, unsigned int) {
  FAKE_IN_CONTEXT(cuEventCreate)
  *event = new Event{Current(), Current()->life, 0};
  return 0;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  FAKE_IN_CONTEXT(cuEventRecord)
  Log("record on stream %p", stream);
  event->after = queued;
  return event->life == event->context->life ? 0 : kInvalidHandle;
}

CUresult cuEventQuery(CUevent event) {
  FAKE_IN_CONTEXT(cuEventQuery)
  return event->life != event->context->life ? kInvalidHandle :
      event->after > queued - queue.size() ? kNotReady : 0;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int) {
  FAKE_IN_CONTEXT(cuStreamWaitEvent)
  Log("wait on stream %p", stream);
  return event->life == event->context->life ? 0 : kInvalidHandle;
}

CUresult cuStreamSynchronize(CUstream stream) {
  FAKE_IN_CONTEXT(cuStreamSynchronize)
  Log("synchronize stream %p", stream);
  Drain();
  return 0;
}

// The calls below are made by programs with GPU memory of their own, not by the
// library.

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) {
  return 0;
}

CUresult cuStreamCreate(CUstream* stream, unsigned int) {
  *stream = new int;
  return 0;
}

CUresult cuStreamDestroy_v2(CUstream) {
  return 0;
}

CUresult cuStreamQuery(CUstream) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  return queue.empty() ? 0 : kNotReady;
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent, CUevent) {
  *milliseconds = 1;
  return 0;
}

CUresult cuMemAllocHost_v2(void** address, size_t size) {
  FAKE_IN_CONTEXT(cuMemAllocHost)
  *address = reinterpret_cast<void*>(Allocate(size, 1, 0));
  return 0;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  FAKE_BEGIN(cuMemFree)
  Drain();
  free(reinterpret_cast<void*>(address));
  return memory.erase(address) == 1 ? 0 : kInvalidValue;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t size) {
  FAKE_IN_CONTEXT(cuMemcpyHtoD)
  Drain();
  memcpy(reinterpret_cast<void*>(to), from, size);
  return 0;
}

CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t size) {
  FAKE_IN_CONTEXT(cuMemcpyDtoH)
  Drain();
  memcpy(to, reinterpret_cast<void*>(from), size);
  return 0;
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size,
    CUstream) {
  FAKE_IN_CONTEXT(cuMemcpyDtoDAsync)
  Enqueue(std::bind(memcpy, reinterpret_cast<void*>(to),
      reinterpret_cast<void*>(from), size));
  return 0;
}

// Sets the name to null for a code that this driver does not know.
CUresult cuGetErrorName(CUresult code, const char** name) {
  static const std::map<CUresult, const char*> names = {
      {200, "CUDA_ERROR_INVALID_IMAGE"},
      {218, "CUDA_ERROR_INVALID_PTX"},
      {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
      {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {719, "CUDA_ERROR_LAUNCH_FAILED"},
      {802, "CUDA_ERROR_SYSTEM_NOT_READY"},
      {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
      {999, "CUDA_ERROR_UNKNOWN"}};
  const std::map<CUresult, const char*>::const_iterator at = names.find(code);
  *name = at == names.end() ? NULL : at->second;
  return at == names.end() ? kInvalidValue : 0;
}

CUresult cuGetErrorString(CUresult code, const char** text) {
  static thread_local char buffer[32];
  snprintf(buffer, sizeof(buffer), "fake error %d", code);
  *text = buffer;
  return 0;
}

}
