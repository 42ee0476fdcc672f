// The vendor's interface on the bridge: checks pointers, turns exceptions into
// return codes, and writes an error's one line.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <exception>
#include <new>

#include "gfpq.hpp"
#include "gfpq/src/ffi/mod.rs.h"
#include "rust/cxx.h"

namespace {

int Fail(const char* function, unsigned int code, const char* why) {
  fprintf(stderr, "[ERR][%s] %s\n", function, why);
  return static_cast<int>(code);
}

// what() of the bridge's errors: the return code in hexadecimal, then text.
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

rust::Box<gfpq::Param> ReadParam(const GFPQ_PARAM_ST* param) {
  // INIT does not read the bytes: callers leave them unset.
  if (param == NULL || param->mode == GFPQ_MODE_INIT) {
    return gfpq::new_param();
  }
  return gfpq::param_from_bytes(
      rust::Slice<const uint8_t>(param->buf, GFPQ_PARAM_LEN));
}

template <typename T>
int Quantise(const char* function, T* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param) {
  if (data == NULL) {
    return Fail(function, GFPQ_ERR_BAD_PARAMETERS, "data is a null pointer");
  }
  if (reinterpret_cast<uintptr_t>(data) % sizeof(T) != 0) {
    return Fail(function, GFPQ_ERR_BAD_PARAMETERS,
        "data is not aligned to its type");
  }
  try {
    rust::Box<gfpq::Param> scale = ReadParam(param);
    const uint32_t mode =
        param == NULL ? static_cast<uint32_t>(GFPQ_MODE_INIT) : param->mode;
    QuantiseSlice(rust::Slice<T>(data, count), bits, mode, &*scale);
    if (param != NULL && mode != GFPQ_MODE_APPLY_ONLY) {
      const std::array<uint8_t, GFPQ_PARAM_LEN> bytes =
          gfpq::param_to_bytes(*scale);
      std::copy(bytes.begin(), bytes.end(), param->buf);
    }
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

int QuantiseGpu(const char* function, const void* data) {
  if (data == NULL) {
    return Fail(function, GFPQ_ERR_BAD_PARAMETERS, "data is a null pointer");
  }
  return Fail(function, GFPQ_ERR_NOT_SUPPORT,
      "this build has no GPU support: use CPU mode");
}

}  // namespace

int HI_GFPQ_QuantAndDeQuant(float* data, unsigned int count, unsigned int bits,
    GFPQ_PARAM_ST* param) {
  return Quantise("HI_GFPQ_QuantAndDeQuant", data, count, bits, param);
}

int HI_GFPQ_QuantAndDeQuant(double* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param) {
  return Quantise("HI_GFPQ_QuantAndDeQuant", data, count, bits, param);
}

int HI_GFPQ_QuantAndDeQuant_PY(float* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param) {
  return Quantise("HI_GFPQ_QuantAndDeQuant_PY", data, count, bits, param);
}

int HI_GFPQ_QuantAndDeQuant_GPU(float* data, unsigned int, unsigned int,
    GFPQ_PARAM_ST*, void*, void*) {
  return QuantiseGpu("HI_GFPQ_QuantAndDeQuant_GPU", data);
}

int HI_GFPQ_QuantAndDeQuant_GPU(double* data, unsigned int, unsigned int,
    GFPQ_PARAM_ST*, void*, void*) {
  return QuantiseGpu("HI_GFPQ_QuantAndDeQuant_GPU", data);
}

int HI_GFPQ_QuantAndDeQuant_GPU_PY(float* data, unsigned int, unsigned int,
    GFPQ_PARAM_ST*, void*, void*) {
  return QuantiseGpu("HI_GFPQ_QuantAndDeQuant_GPU_PY", data);
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
