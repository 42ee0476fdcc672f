// Unloads the library after a call that has started its helper threads: they must
// not run code that is gone. Usage: unload LIBRARY
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include <vector>

#include "gfpq.hpp"

typedef int (*InPlace)(float*, unsigned int, unsigned int, GFPQ_PARAM_ST*);

int main(int, char** arguments) {
  for (int turn = 0; turn < 20; ++turn) {
    void* const library = dlopen(arguments[1], RTLD_NOW);
    if (library == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
    const InPlace call = reinterpret_cast<InPlace>(
        dlsym(library, "HI_GFPQ_QuantAndDeQuant_PY"));
    std::vector<float> data(300000, 1.5f);
    if (call(data.data(), 300000, 8, NULL) != GFPQ_SUCCESS) {
      return 1;
    }
    dlclose(library);
    usleep(turn * 1000);
  }
  return 0;
}
