// Enough of CUDA C++ to run a kernel on the host, one block at a time. Each
// thread of the block is a fiber that runs until its next barrier.
#ifndef CUDA_ON_HOST_HPP_
#define CUDA_ON_HOST_HPP_

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __launch_bounds__(threads)
// One copy is enough, because one block runs at a time.
#define __shared__ static

namespace host {

struct Index {
  unsigned int x;
};

// Threads wait at a barrier until all its members have arrived.
struct Barrier {
  // The number of threads that must arrive.
  int members;
  // The number of threads that have arrived in this round.
  int arrived;
  // The number of times that all have arrived.
  int round;
};

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  // Whether the kernel has returned.
  bool done;
  // The word that the thread offers in a shuffle.
  unsigned long long shuffled;
};

// The threads of the running block.
std::vector<Fiber> fibers;
ucontext_t scheduler;
// The index of the running thread.
unsigned int running;
// The barrier of __syncthreads.
Barrier block_barrier;
// The barriers of __syncwarp.
std::vector<Barrier> warp_barriers;
// What __syncthreads_or has gathered.
int any;
std::function<void()> kernel;

inline void Arrive(Barrier* barrier) {
  const int round = barrier->round;
  if (++barrier->arrived == barrier->members) {
    barrier->arrived = 0;
    ++barrier->round;
  }
  while (barrier->round == round) {
    swapcontext(&fibers[running].context, &scheduler);
  }
}

inline void RunFiber() {
  kernel();
  fibers[running].done = true;
}

}  // namespace host

host::Index threadIdx, blockIdx, gridDim;

namespace host {

// Runs a kernel. The blocks run in reverse, since no result may depend on their
// order.
inline void Run(unsigned int blocks, unsigned int threads,
    const std::function<void()>& body) {
  kernel = body;
  fibers.resize(threads);
  gridDim.x = blocks;
  for (unsigned int block = blocks; block-- > 0;) {
    blockIdx.x = block;
    block_barrier = Barrier{static_cast<int>(threads), 0, 0};
    warp_barriers.assign(threads / 32, Barrier{32, 0, 0});
    any = 0;
    for (Fiber& fiber : fibers) {
      getcontext(&fiber.context);
      fiber.stack.resize(1 << 16);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = fiber.stack.size();
      fiber.context.uc_link = &scheduler;
      fiber.done = false;
      makecontext(&fiber.context, RunFiber, 0);
    }
    unsigned int left = threads;
    for (int turns = 0; left > 0; ++turns) {
      if (turns > 10000) {
        fprintf(stderr, "a barrier that not all threads reach\n");
        abort();
      }
      left = 0;
      for (running = 0; running < threads; ++running) {
        if (!fibers[running].done) {
          threadIdx.x = running;
          swapcontext(&scheduler, &fibers[running].context);
          left += !fibers[running].done;
        }
      }
    }
  }
}

// Restores what other fibers have set since this thread ran.
inline void Restore(unsigned int thread) {
  threadIdx.x = thread;
}

}  // namespace host

inline void __syncthreads() {
  const unsigned int thread = threadIdx.x;
  host::Arrive(&host::block_barrier);
  host::Restore(thread);
}

inline void __syncwarp() {
  const unsigned int thread = threadIdx.x;
  host::Arrive(&host::warp_barriers[thread / 32]);
  host::Restore(thread);
}

inline int __syncthreads_or(int value) {
  host::any |= value;
  __syncthreads();
  const int result = host::any;
  __syncthreads();
  host::any = 0;
  __syncthreads();
  return result;
}

template <typename Word>
Word __shfl_xor_sync(unsigned int, Word value, int lanes) {
  host::fibers[threadIdx.x].shuffled = value;
  __syncwarp();
  const Word other = host::fibers[threadIdx.x ^ lanes].shuffled;
  __syncwarp();
  return other;
}

inline void __threadfence() {}

template <typename Word>
Word atomicMax(Word* place, Word value) {
  const Word before = *place;
  *place = before > value ? before : value;
  return before;
}

template <typename Word>
Word atomicAdd(Word* place, Word value) {
  const Word before = *place;
  *place += value;
  return before;
}

template <typename Word>
Word atomicExch(Word* place, Word value) {
  const Word before = *place;
  *place = value;
  return before;
}

#endif  // CUDA_ON_HOST_HPP_
