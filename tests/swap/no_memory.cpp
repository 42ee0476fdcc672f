// Calls every function of the library while there is no memory left. A call may
// refuse with GFPQ_ERR_OUT_OF_MEMORY where it must allocate (for misaligned data,
// and on a GPU), but none may end the process, and one that succeeds must give
// the right values. Each case is a process of its own, which
// loads the library and then fails all allocations after the first so many; in
// the first cases the kernel gives the process no more memory instead.
// Usage: no_memory LIBRARY
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "gfpq_ext.hpp"

extern "C" void* __libc_malloc(size_t size);
extern "C" void* __libc_calloc(size_t count, size_t size);
extern "C" void* __libc_realloc(void* old, size_t size);
extern "C" void* __libc_memalign(size_t alignment, size_t size);

namespace {

// The number of allocations that may still succeed; negative for any number.
std::atomic<int> left(-1);

bool IsOut() {
  if (left.load() < 0) {
    return false;
  }
  if (left.load() > 0) {
    left.fetch_sub(1);
    return false;
  }
  errno = ENOMEM;
  return true;
}

}  // namespace

// The library and the C library allocate by these functions.
extern "C" void* malloc(size_t size) {
  return IsOut() ? NULL : __libc_malloc(size);
}

extern "C" void* calloc(size_t count, size_t size) {
  return IsOut() ? NULL : __libc_calloc(count, size);
}

extern "C" void* realloc(void* old, size_t size) {
  return IsOut() ? NULL : __libc_realloc(old, size);
}

extern "C" void* aligned_alloc(size_t alignment, size_t size) {
  return IsOut() ? NULL : __libc_memalign(alignment, size);
}

extern "C" int posix_memalign(void** result, size_t alignment, size_t size) {
  *result = IsOut() ? NULL : __libc_memalign(alignment, size);
  return *result == NULL ? ENOMEM : 0;
}

namespace {

const unsigned int kLarge = 300000;

typedef int (*InPlace)(void*, unsigned int, unsigned int, GFPQ_PARAM_ST*);
typedef int (*To)(const void*, void*, unsigned int, unsigned int,
    GFPQ_PARAM_ST*);
typedef int (*Gpu)(void*, unsigned int, unsigned int, GFPQ_PARAM_ST*, void*,
    void*);
typedef int (*ToGpu)(const void*, void*, unsigned int, unsigned int,
    GFPQ_PARAM_ST*, unsigned int*, void*);
typedef int (*RangeGpu)(const void*, void*, unsigned int, unsigned int, void*,
    unsigned int*, void*);
typedef int (*Info)(GFPQ_INFO_ST*);

void* library;

template <typename F>
F Function(const char* name) {
  return reinterpret_cast<F>(dlsym(library, name));
}

// All functions but HI_GFPQ_GetInfo, by their names in the library.
InPlace in_place[3];
To to[2];
Gpu gpu[3];
ToGpu to_gpu[2];
RangeGpu range_gpu[2];
Info info;

float data[kLarge + 1];
float copy[kLarge + 1];
double wide[kLarge + 1];
double wide_copy[kLarge + 1];

bool Load(const char* path) {
  library = dlopen(path, RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return false;
  }
  in_place[0] = Function<InPlace>(
      "_Z23HI_GFPQ_QuantAndDeQuantPfjjP14_GFPQ_PARAM_ST");
  in_place[1] = Function<InPlace>("HI_GFPQ_QuantAndDeQuant_PY");
  in_place[2] = Function<InPlace>(
      "_Z23HI_GFPQ_QuantAndDeQuantPdjjP14_GFPQ_PARAM_ST");
  to[0] = Function<To>("_Z22GFPQ_QuantAndDeQuantToPKfPfjjP14_GFPQ_PARAM_ST");
  to[1] = Function<To>("_Z22GFPQ_QuantAndDeQuantToPKdPdjjP14_GFPQ_PARAM_ST");
  gpu[0] = Function<Gpu>(
      "_Z27HI_GFPQ_QuantAndDeQuant_GPUPfjjP14_GFPQ_PARAM_STPvS2_");
  gpu[1] = Function<Gpu>("HI_GFPQ_QuantAndDeQuant_GPU_PY");
  gpu[2] = Function<Gpu>(
      "_Z27HI_GFPQ_QuantAndDeQuant_GPUPdjjP14_GFPQ_PARAM_STPvS2_");
  to_gpu[0] = Function<ToGpu>(
      "_Z26GFPQ_QuantAndDeQuantTo_GPUPKfPfjjP14_GFPQ_PARAM_STPjPv");
  to_gpu[1] = Function<ToGpu>(
      "_Z26GFPQ_QuantAndDeQuantTo_GPUPKdPdjjP14_GFPQ_PARAM_STPjPv");
  range_gpu[0] = Function<RangeGpu>(
      "_Z29GFPQ_QuantAndDeQuantRange_GPUPKfPfjjS1_PjPv");
  range_gpu[1] = Function<RangeGpu>(
      "_Z29GFPQ_QuantAndDeQuantRange_GPUPKdPdjjS1_PjPv");
  info = Function<Info>("_Z15HI_GFPQ_GetInfoP13_GFPQ_INFO_ST");
  return true;
}

// Whether a call on CPU memory succeeded, or refused for want of memory where it
// may; 3.0 becomes 2.953652 at the scale of values up to 9.
bool IsRight(int code, double value, bool may_refuse) {
  if (code == static_cast<int>(GFPQ_ERR_OUT_OF_MEMORY)) {
    return may_refuse;
  }
  return code == GFPQ_SUCCESS && fabs(value - 2.953652) < 1e-6;
}

bool CallOnCpu(unsigned int count, unsigned int mode, bool misaligned) {
  GFPQ_PARAM_ST param = GFPQ_PARAM_ST();
  bool is_right = true;
  for (int f = 0; f < 5; ++f) {
    for (unsigned int i = 0; i < count; ++i) {
      data[i] = i % 10;
      wide[i] = i % 10;
    }
    param.mode = GFPQ_MODE_INIT;
    in_place[0](data, 10, 8, &param);
    data[3] = 3;
    data[9] = 9;
    param.mode = mode;
    const bool is_wide = f == 2 || f == 4;
    char* const start = is_wide ? reinterpret_cast<char*>(wide) :
        reinterpret_cast<char*>(data);
    char* from = start;
    const size_t size = count * (is_wide ? sizeof(double) : sizeof(float));
    if (misaligned) {
      memmove(start + 1, start, size);
      from = start + 1;
    }
    char* const into = f < 3 ? from : is_wide ?
        reinterpret_cast<char*>(wide_copy) : reinterpret_cast<char*>(copy);
    const int code = f < 3 ? in_place[f](from, count, 8, &param) :
        to[f - 3](from, into, count, 8, &param);
    double value = 0;
    float single = 0;
    memcpy(&value, into + 3 * sizeof(value), sizeof(value));
    memcpy(&single, into + 3 * sizeof(single), sizeof(single));
    is_right = IsRight(code, is_wide ? value : single, misaligned) && is_right;
  }
  return is_right;
}

// Calls that are refused.
bool CallInVain() {
  const int bad = static_cast<int>(GFPQ_ERR_BAD_PARAMETERS);
  GFPQ_PARAM_ST param = GFPQ_PARAM_ST();
  GFPQ_INFO_ST answer;
  bool is_right = info(&answer) == GFPQ_SUCCESS;
  is_right = in_place[0](data, 10, 7, &param) ==
      static_cast<int>(GFPQ_ERR_BAD_FORMAT) && is_right;
  is_right = in_place[0](NULL, 10, 8, &param) == bad && is_right;
  is_right = in_place[0](reinterpret_cast<void*>(0x10), 10, 8, &param) == bad &&
      is_right;
  param.mode = 7;
  return in_place[0](data, 10, 8, &param) == bad && is_right;
}

// GPU calls find out that there is no memory before they load the driver, which
// is more than the C library's own loader does.
bool CallOnGpu() {
  const int out = static_cast<int>(GFPQ_ERR_OUT_OF_MEMORY);
  GFPQ_PARAM_ST param = GFPQ_PARAM_ST();
  bool is_right = true;
  for (int f = 0; f < 3; ++f) {
    is_right = gpu[f](data, 10, 8, &param, NULL, NULL) == out && is_right;
  }
  for (int f = 0; f < 2; ++f) {
    is_right = to_gpu[f](data, copy, 10, 8, &param, NULL, NULL) == out &&
        is_right;
    is_right = range_gpu[f](data, copy, 10, 8, wide, NULL, NULL) == out &&
        is_right;
  }
  return is_right;
}

bool CallAll() {
  bool is_right = CallInVain();
  if (left.load() == 0) {
    is_right = CallOnGpu() && is_right;
  }
  const unsigned int counts[] = {10, kLarge};
  for (unsigned int c = 0; c < 2; ++c) {
    for (unsigned int mode = 0; mode < 3; ++mode) {
      is_right = CallOnCpu(counts[c], mode, false) && is_right;
      is_right = CallOnCpu(counts[c], mode, true) && is_right;
    }
  }
  return is_right;
}

std::atomic<int> turn(0);

// The same in a thread that has made no call before.
void* CallInThread(void*) {
  turn.store(1);
  while (turn.load() != 2) {
  }
  const bool is_right = CallAll();
  turn.store(is_right ? 3 : 4);
  return NULL;
}

// Lets the process have no more memory than it has, so that no thread can start.
void LimitAddresses() {
  unsigned long pages = 0;  // NOLINT
  FILE* const file = fopen("/proc/self/statm", "r");
  if (file != NULL && fscanf(file, "%lu", &pages) == 1) {
    const struct rlimit limit = {pages * 4096, pages * 4096};
    setrlimit(RLIMIT_AS, &limit);
  }
}

// One case: `allowed` allocations succeed. Does not return.
void Case(const char* path, int allowed, bool in_thread) {
  alarm(60);
  if (!Load(path)) {
    _exit(2);
  }
  pthread_t thread;
  if (in_thread) {
    pthread_create(&thread, NULL, CallInThread, NULL);
    while (turn.load() != 1) {
    }
  }
  if (allowed < 0) {
    LimitAddresses();
  }
  left.store(allowed);
  if (in_thread) {
    turn.store(2);
    while (turn.load() < 3) {
    }
    _exit(turn.load() == 3 ? 0 : 1);
  }
  _exit(CallAll() ? 0 : 1);
}

}  // namespace

int main(int, char** arguments) {
  int cases = 0;
  int failures = 0;
  for (int allowed = -1; allowed < 60; ++allowed) {
    for (int in_thread = 0; in_thread < 2; ++in_thread) {
      const pid_t child = fork();
      if (child == 0) {
        Case(arguments[1], allowed, in_thread == 1);
      }
      int status = 1;
      waitpid(child, &status, 0);
      ++cases;
      if (status != 0) {
        ++failures;
        printf("no_memory: after %d allocations%s: status %#x\n", allowed,
            in_thread ? ", in a new thread" : "", status);
      }
    }
  }
  printf("no_memory: %d processes, %d failed\n", cases, failures);
  return failures == 0 ? 0 : 1;
}
