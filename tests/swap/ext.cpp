// Compares the functions of gfpq_ext.hpp with those of the vendor's interface:
// they give the same bits, do not change the source, and refuse invalid calls.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "gfpq_ext.hpp"

namespace {

int failures = 0;
int calls = 0;

void Check(bool holds, const char* what, unsigned int bits, size_t count) {
  ++calls;
  if (!holds) {
    ++failures;
    printf("ext: %s, %u bits, %zu values\n", what, bits, count);
  }
}

template <typename T>
bool Same(const std::vector<T>& a, const std::vector<T>& b) {
  return memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <typename T>
void OutOfPlace(unsigned int bits, size_t count) {
  GFPQ_PARAM_ST there = GFPQ_PARAM_ST();
  GFPQ_PARAM_ST here = GFPQ_PARAM_ST();
  const unsigned int modes[] = {GFPQ_MODE_INIT, GFPQ_MODE_UPDATE,
      GFPQ_MODE_UPDATE, GFPQ_MODE_APPLY_ONLY};
  for (int step = 0; step < 4; ++step) {
    there.mode = here.mode = modes[step];
    std::vector<T> source(count + 1);
    for (size_t i = 0; i < source.size(); ++i) {
      source[i] = static_cast<T>(sin(i + step) * exp2(i % 40 - 30.0 + step));
    }
    if (step == 2) {
      source[0] = NAN;
    }
    const std::vector<T> original = source;
    std::vector<T> expected = source;
    HI_GFPQ_QuantAndDeQuant(expected.data(), count, bits, &there);
    std::vector<T> destination(source.size(), source[count]);
    const int code = GFPQ_QuantAndDeQuantTo(source.data(), destination.data(),
        count, bits, &here);
    Check(code == GFPQ_SUCCESS, "success", bits, count);
    Check(Same(destination, expected), "values", bits, count);
    Check(Same(source, original), "source untouched", bits, count);
    Check(memcmp(&here, &there, sizeof(here)) == 0, "parameter", bits, count);
    GFPQ_QuantAndDeQuantTo(source.data(), source.data(), count, bits, &here);
    Check(Same(source, expected), "in place", bits, count);
  }
}

// The same at addresses that are not aligned, for the source, for the
// destination, and for both.
template <typename T>
void Misaligned(unsigned int bits, size_t count) {
  const size_t size = count * sizeof(T);
  std::vector<T> source(count + 1);
  for (size_t i = 0; i < source.size(); ++i) {
    source[i] = static_cast<T>(sin(i) * exp2(i % 40 - 30.0));
  }
  std::vector<T> expected = source;
  GFPQ_PARAM_ST there = GFPQ_PARAM_ST();
  HI_GFPQ_QuantAndDeQuant(expected.data(), count, bits, &there);
  for (size_t offsets = 1; offsets < 4; ++offsets) {
    std::vector<char> from(size + 64, 'x');
    std::vector<char> to(size + 64, 'x');
    char* const read = from.data() + (offsets & 1 ? 1 : 0);
    char* const written = to.data() + (offsets & 2 ? 3 : 0);
    memcpy(read, source.data(), size);
    GFPQ_PARAM_ST here = GFPQ_PARAM_ST();
    const int code = GFPQ_QuantAndDeQuantTo(reinterpret_cast<T*>(read),
        reinterpret_cast<T*>(written), count, bits, &here);
    Check(code == GFPQ_SUCCESS, "misaligned", bits, count);
    Check(memcmp(written, expected.data(), size) == 0, "misaligned values",
        bits, count);
    Check(memcmp(read, source.data(), size) == 0, "misaligned source untouched",
        bits, count);
    Check(written[size] == 'x', "nothing behind the destination", bits, count);
    Check(memcmp(&here, &there, sizeof(here)) == 0, "misaligned parameter",
        bits, count);
  }
}

// A process's first call, on an address that cannot be read: each in a process
// of its own.
void FirstCalls() {
  const uintptr_t addresses[] = {0x8, 0x10, 0xff8, 0xfff, 0x1000,
      static_cast<uintptr_t>(1) << 63, ~static_cast<uintptr_t>(15)};
  for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); ++i) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      const int bad = static_cast<int>(GFPQ_ERR_BAD_PARAMETERS);
      float* const data = reinterpret_cast<float*>(addresses[i]);
      double* const wide = reinterpret_cast<double*>(addresses[i]);
      _exit(HI_GFPQ_QuantAndDeQuant(data, 1, 8, NULL) == bad &&
          HI_GFPQ_QuantAndDeQuant(wide, 1, 8, NULL) == bad ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    Check(status == 0, "first call at a bad address", 8, addresses[i]);
  }
}

void Refusals() {
  std::vector<float> data(20, 1.5f);
  const std::vector<float> original = data;
  GFPQ_PARAM_ST param = GFPQ_PARAM_ST();
  float* const null = NULL;
  const int bad = static_cast<int>(GFPQ_ERR_BAD_PARAMETERS);
  Check(GFPQ_QuantAndDeQuantTo(null, data.data(), 10, 8, &param) == bad,
      "null source", 8, 10);
  Check(GFPQ_QuantAndDeQuantTo(data.data(), null, 10, 8, &param) == bad,
      "null destination", 8, 10);
  Check(GFPQ_QuantAndDeQuantTo(data.data(), &data[9], 10, 8, &param) == bad,
      "overlap above", 8, 10);
  Check(GFPQ_QuantAndDeQuantTo(&data[9], data.data(), 10, 8, &param) == bad,
      "overlap below", 8, 10);
  Check(Same(data, original), "data untouched", 8, 20);
  Check(GFPQ_QuantAndDeQuantTo(&data[10], data.data(), 10, 8, &param) ==
      GFPQ_SUCCESS, "neighbours", 8, 10);
}

// Memory that the CPU cannot read, as it cannot read GPU memory.
void Unreadable(size_t count) {
  const size_t size = count * sizeof(float);
  void* const pages = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
      -1, 0);
  float* const foreign = static_cast<float*>(pages);
  std::vector<float> data(count, 1.5f);
  const std::vector<float> original = data;
  GFPQ_PARAM_ST param = GFPQ_PARAM_ST();
  const GFPQ_PARAM_ST before = param;
  const int bad = static_cast<int>(GFPQ_ERR_BAD_PARAMETERS);
  Check(HI_GFPQ_QuantAndDeQuant(foreign, count, 8, &param) == bad,
      "unreadable", 8, count);
  Check(GFPQ_QuantAndDeQuantTo(foreign, data.data(), count, 8, &param) == bad,
      "unreadable source", 8, count);
  Check(GFPQ_QuantAndDeQuantTo(data.data(), foreign, count, 8, &param) == bad,
      "unreadable destination", 8, count);
  Check(Same(data, original), "data untouched", 8, count);
  Check(memcmp(&param, &before, sizeof(param)) == 0, "parameter untouched", 8,
      count);
  Check(HI_GFPQ_QuantAndDeQuant(foreign, 0, 8, &param) == GFPQ_SUCCESS,
      "no values", 8, 0);
  munmap(pages, size);
}

}  // namespace

int main() {
  FirstCalls();
  const unsigned int widths[] = {8, 16};
  const size_t counts[] = {0, 1, 9, 1000, 300001};
  for (int w = 0; w < 2; ++w) {
    for (int c = 0; c < 5; ++c) {
      OutOfPlace<float>(widths[w], counts[c]);
      OutOfPlace<double>(widths[w], counts[c]);
      Misaligned<float>(widths[w], counts[c]);
      Misaligned<double>(widths[w], counts[c]);
    }
  }
  Refusals();
  Unreadable(1);
  Unreadable(1 << 20);
  printf("ext: %d checks, %d failed\n", calls, failures);
  return failures == 0 ? 0 : 1;
}
