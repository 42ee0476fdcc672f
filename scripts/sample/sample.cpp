// Quantises the numbers 0 to 9 to 8 bits and prints them. To build it, in this folder of GFPQLibs:
//   g++ sample.cpp -I../include -L../lib -lgfpq -Wl,-rpath,'$ORIGIN/../lib' -o sample
#include <stdio.h>

#include "gfpq.hpp"

int main() {
  GFPQ_INFO_ST info;
  HI_GFPQ_GetInfo(&info);
  printf("libgfpq %u.%u.%u, built %s\n", info.u32LibVerMajor,
      info.u32LibVerMinor, info.u32LibVerPatch, info.u8BuildTime);

  float data[10];
  for (int i = 0; i < 10; ++i) {
    data[i] = i;
  }
  GFPQ_PARAM_ST param = {};
  param.mode = GFPQ_MODE_INIT;
  const int code =
      HI_GFPQ_QuantAndDeQuant(data, 10, GFPQ_BIT_WIDTH_8BIT, &param);
  if (code != GFPQ_SUCCESS) {
    return 1;
  }
  for (int i = 0; i < 10; ++i) {
    printf("%f ", data[i]);
  }
  printf("\n");
  return 0;
}
