// A fake NVRTC, libnvrtc.so.MAJOR. Its machine code for any source is the first
// bytes of an ELF file. It knows the architectures NEWEST and NEWEST - 10. With
// FAKE_NVRTC_FAIL in the environment every compilation fails.
#include <stdlib.h>
#include <string.h>

static const char kImage[] = "\x7f" "ELF fake";
static const char kLog[] = "quantise.cu(1): error: as asked for";

int nvrtcVersion(int* major, int* minor) {
  *major = MAJOR;
  *minor = 4;
  return 0;
}

int nvrtcGetNumSupportedArchs(int* count) {
  *count = 2;
  return 0;
}

int nvrtcGetSupportedArchs(int* list) {
  list[0] = NEWEST;
  list[1] = NEWEST - 10;
  return 0;
}

int nvrtcCreateProgram(void** program, const char* source, const char* name,
    int count, const char* const* headers, const char* const* names) {
  (void)name;
  if (strstr(source, "gfpq_range_") == NULL || count != 2 ||
      strcmp(names[1], "gfpq_tables.cuh") != 0 ||
      strstr(headers[1], "kDeltaLimit") == NULL) {
    return 3;
  }
  *program = malloc(1);
  return 0;
}

int nvrtcCompileProgram(void* program, int count, const char* const* options) {
  (void)program;
  return getenv("FAKE_NVRTC_FAIL") != NULL ? 6 :
      count > 0 && strcmp(options[0], "--gpu-architecture=sm_90") == 0 ? 0 : 5;
}

int nvrtcDestroyProgram(void** program) {
  free(*program);
  *program = NULL;
  return 0;
}

static int Size(size_t size, size_t* to) {
  *to = size;
  return 0;
}

static int Copy(const char* from, size_t size, char* to) {
  memcpy(to, from, size);
  return 0;
}

int nvrtcGetProgramLogSize(void* p, size_t* n) {
  (void)p;
  return Size(sizeof(kLog), n);
}

int nvrtcGetProgramLog(void* p, char* to) {
  (void)p;
  return Copy(kLog, sizeof(kLog), to);
}

int nvrtcGetPTXSize(void* p, size_t* n) {
  (void)p;
  return Size(0, n);
}

int nvrtcGetPTX(void* p, char* to) {
  (void)p;
  (void)to;
  return 0;
}

int nvrtcGetCUBINSize(void* p, size_t* n) {
  (void)p;
  return Size(sizeof(kImage), n);
}

int nvrtcGetCUBIN(void* p, char* to) {
  (void)p;
  return Copy(kImage, sizeof(kImage), to);
}
