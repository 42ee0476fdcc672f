// What the sources of the fake driver share: its types, its state, and how a
// call begins.
//
// FAKE_CUDA_LOG names a file that gets a line for each call of interest.
// FAKE_CUDA_FAIL is a list such as "cuInit=100,ptx=222" of calls, or kinds of
// image, and the result codes that they return.
#ifndef DRIVER_HPP_
#define DRIVER_HPP_

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace fake {

typedef int CUresult;
typedef int CUdevice;
typedef struct Context* CUcontext;
typedef struct Function* CUfunction;
typedef uint64_t CUdeviceptr;
typedef void* CUstream;
typedef struct Event* CUevent;

struct Context {
  int device;
  // The number of resets; what the context held before is invalid.
  int life;
};

struct Function {
  std::string name;
  CUcontext context;
  // The context's life in which it was loaded.
  int life;
};

struct Event {
  CUcontext context;
  // The context's life in which it was created.
  int life;
  // The value of `queued` when it was recorded.
  size_t after;
};

// An allocation.
struct Block {
  size_t size;
  // 1 for pinned memory, 2 for a GPU's own.
  int kind;
  int device;
};

const int kGpus = 2;
const int kInvalidValue = 1;
const int kInvalidContext = 201;
const int kInvalidHandle = 400;
const int kNotFound = 500;
const int kNotReady = 600;

// The primary contexts of the GPUs.
extern Context primaries[kGpus];
// The thread's contexts; the last one is current.
extern thread_local std::vector<CUcontext> stack;
// All allocations by address.
extern std::map<CUdeviceptr, Block> memory;
// The work that waits, of all streams.
extern std::vector<std::function<void()> > queue;
// The number of pieces of work that were ever queued.
extern size_t queued;
// Held by every call.
extern std::recursive_mutex mutex;

void Log(const char* format, ...);

// The result code that FAKE_CUDA_FAIL has for a name, or 0.
int Injected(const std::string& name);

void Enqueue(const std::function<void()>& work);

// The thread's current context, or NULL.
CUcontext Current();

}  // namespace fake

#define FAKE_BEGIN(name) \
  std::lock_guard<std::recursive_mutex> lock(fake::mutex); \
  if (const int code = fake::Injected(#name)) return code;

#define FAKE_IN_CONTEXT(name) \
  FAKE_BEGIN(name) \
  if (fake::Current() == NULL) return fake::kInvalidContext;

#endif  // DRIVER_HPP_
