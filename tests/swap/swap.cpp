// Calls every function of the vendor's interface and prints the results, bit for
// bit. The output must be the same with the vendor's library and with ours.
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

#include <string>
#include <vector>

#include "gfpq.hpp"

namespace {

uint64_t state = 20260101;

uint64_t Random() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// Values of several magnitudes and both signs, zeros, and rarely non-finite ones.
double Value(int spread) {
  switch (Random() % 100) {
  case 0: return 0;
  case 1: return -0.0;
  case 2: return spread == 3 ? NAN : 1;
  case 3: return spread == 3 ? -INFINITY : -1;
  }
  const double unit = (Random() >> 11) / 9007199254740992.0;
  const double sign = Random() % 2 ? 1 : -1;
  return sign * exp2((unit - 0.5) * 10 * (spread + 1));
}

template <typename T>
void Print(const char* what, int code, const std::vector<T>& data,
    const GFPQ_PARAM_ST& param) {
  uint64_t hash = 14695981039346656037ull;
  for (size_t i = 0; i < data.size() * sizeof(T); ++i) {
    hash ^= reinterpret_cast<const unsigned char*>(data.data())[i];
    hash *= 1099511628211ull;
  }
  printf("%s %08x mode %u param ", what, static_cast<unsigned>(code),
      param.mode);
  for (int i = 0; i < GFPQ_PARAM_LEN; ++i) {
    printf("%02x", param.buf[i]);
  }
  printf(" data %016llx\n", static_cast<unsigned long long>(hash));  // NOLINT
}

// Quantises `count` values that begin `offset` bytes after an aligned address,
// in each mode.
template <typename T>
void Calibrate(const char* what, int count, unsigned int bits,
    size_t offset = 0) {
  GFPQ_PARAM_ST param;
  memset(&param, 0, sizeof(param));
  const unsigned int modes[] = {GFPQ_MODE_INIT, GFPQ_MODE_UPDATE,
      GFPQ_MODE_UPDATE, GFPQ_MODE_APPLY_ONLY};
  for (int step = 0; step < 4; ++step) {
    param.mode = modes[step];
    std::vector<T> data(count + 1);
    for (size_t i = 0; i < data.size(); ++i) {
      data[i] = static_cast<T>(Value(step));
    }
    std::vector<T> memory(data.size() + 1);
    char* const start = reinterpret_cast<char*>(memory.data()) + offset;
    memcpy(start, data.data(), data.size() * sizeof(T));
    const int code = HI_GFPQ_QuantAndDeQuant(reinterpret_cast<T*>(start), count,
        bits, &param);
    memcpy(data.data(), start, data.size() * sizeof(T));
    Print(what, code, data, param);
  }
}

void Misaligned(unsigned int bits) {
  const int counts[] = {0, 1, 10, 1000, 300000};
  const size_t offsets[] = {1, 2, 3, 4, 7};
  for (int c = 0; c < 5; ++c) {
    for (int o = 0; o < 5; ++o) {
      if (offsets[o] < sizeof(float)) {
        Calibrate<float>("misaligned float", counts[c], bits, offsets[o]);
      }
      Calibrate<double>("misaligned double", counts[c], bits, offsets[o]);
    }
  }
}

// The caller's rounding mode, and denormal numbers flushed to zero. The process
// makes its first calls in these environments, so that what they leave behind
// would show in the later ones.
void Environments(unsigned int bits) {
  const int roundings[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO, FE_TONEAREST};
  const char* const names[] = {"down", "up", "to zero", "nearest"};
  const int counts[] = {300000, 10, 1000};
  for (int r = 0; r < 4; ++r) {
    for (int flushed = 0; flushed < 2; ++flushed) {
      for (int c = 0; c < 3; ++c) {
        const std::string what = std::string(names[r]) +
            (flushed ? ", flushed " : " ");
        fesetround(roundings[r]);
#ifdef __x86_64__
        const unsigned int before = _mm_getcsr();
        _mm_setcsr(flushed ? before | 0x8040 : before);
#endif
        Calibrate<float>((what + "float").c_str(), counts[c], bits);
        Calibrate<double>((what + "double").c_str(), counts[c], bits);
#ifdef __x86_64__
        _mm_setcsr(before);
#endif
        fesetround(FE_TONEAREST);
      }
    }
  }
}

}  // namespace

int main() {
  const unsigned int widths[] = {8, 16};
  const int counts[] = {0, 1, 2, 10, 1000, 300000};
  for (int w = 0; w < 2; ++w) {
    Environments(widths[w]);
    Misaligned(widths[w]);
    for (int c = 0; c < 6; ++c) {
      Calibrate<float>("float", counts[c], widths[w]);
      Calibrate<double>("double", counts[c], widths[w]);
    }
  }
  GFPQ_PARAM_ST param;
  memset(&param, 0, sizeof(param));
  std::vector<float> data(10);
  for (int i = 0; i < 10; ++i) {
    data[i] = i;
  }
  // A call without a parameter, one by the unmangled name, and refused calls.
  std::vector<float> copy = data;
  Print("null param", HI_GFPQ_QuantAndDeQuant(copy.data(), 10, 8, NULL), copy,
      param);
  copy = data;
  Print("py", HI_GFPQ_QuantAndDeQuant_PY(copy.data(), 10, 8, &param), copy,
      param);
  copy = data;
  Print("bits 7", HI_GFPQ_QuantAndDeQuant(copy.data(), 10, 7, &param), copy,
      param);
  Print("null data", HI_GFPQ_QuantAndDeQuant(static_cast<float*>(NULL), 10, 8,
      &param), copy, param);
  Print("null info", HI_GFPQ_GetInfo(NULL), copy, param);
  // The vendor's CPU library does not support GPUs; ours finds none here.
  Print("gpu", HI_GFPQ_QuantAndDeQuant_GPU(copy.data(), 10, 8, &param), copy,
      param);
  Print("gpu py", HI_GFPQ_QuantAndDeQuant_GPU_PY(copy.data(), 10, 8, &param,
      NULL, NULL), copy, param);
  std::vector<double> wide(10, 1);
  Print("gpu double", HI_GFPQ_QuantAndDeQuant_GPU(wide.data(), 10, 8, &param),
      wide, param);
  GFPQ_INFO_ST info;
  const int code = HI_GFPQ_GetInfo(&info);
  printf("info %08x so %u revision %u\n", static_cast<unsigned>(code),
      info.u32LibSoVer, info.u32ComRevision);
  return 0;
}
