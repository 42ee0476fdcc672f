#ifndef GFPQ_HPP_
#define GFPQ_HPP_

// The GFPQ quantiser: quantises a tensor to the number format of HiSilicon's
// NNIE and dequantises it again, in place. A program compiled against this
// header runs with this library or with the vendor's libgfpq.so.1, unchanged.

#define GFPQ_BIT_WIDTH_8BIT 8
#define GFPQ_BIT_WIDTH_16BIT 16

#define GFPQ_PARAM_LEN 16
#define GFPQ_DATE_TIME_STR_LEN 64

// Return codes. After an error, data and parameter are as they were, and one
// line on stderr says what was wrong.
#define GFPQ_SUCCESS 0x00000000
#define GFPQ_ERR_GENERIC 0xFFFF0000
// A bit width other than 8 and 16, or a parameter that no call wrote.
#define GFPQ_ERR_BAD_FORMAT 0xFFFF0005
// An unknown mode, or a pointer that is null, or to memory that the call is not
// for: a GPU's for a CPU call, the CPU's or another GPU's for a GPU call. GPU
// calls refuse misaligned pointers, too.
#define GFPQ_ERR_BAD_PARAMETERS 0xFFFF0006
// No GPU memory, or no CPU memory for a GPU call or for misaligned data. Other
// CPU calls allocate nothing that they cannot do without.
#define GFPQ_ERR_OUT_OF_MEMORY 0xFFFF000C
#define GFPQ_ERR_SHORT_BUFFER 0xFFFF0010
// A GPU call where no GPU can be used.
#define GFPQ_ERR_NOT_SUPPORT 0xFFFF0011

// Where a call takes the tensor's scale from.
enum GFPQ_MODE {
  GFPQ_MODE_INIT = 0,        // from this data; written to the parameter
  GFPQ_MODE_UPDATE = 1,      // the larger of the parameter's and this data's
  GFPQ_MODE_APPLY_ONLY = 2   // from the parameter, which stays as it is
};

// A tensor's scale. Start from 16 zero bytes; pass on what a call returned.
typedef struct _GFPQ_PARAM_ST {
  unsigned int mode;
  unsigned char buf[GFPQ_PARAM_LEN];
} GFPQ_PARAM_ST;

typedef struct _GFPQ_INFO_ST {
  unsigned int u32LibVerMajor;
  unsigned int u32LibVerMinor;
  unsigned int u32LibVerPatch;
  unsigned int u32LibSoVer;
  unsigned int u32ComRevision;  // the vendor's revision of the number format
  char u8BuildTime[GFPQ_DATE_TIME_STR_LEN];
} GFPQ_INFO_ST;

// `data` holds `count` values in CPU memory; `bits` is 8 or 16. Without a
// parameter (NULL) the call takes the scale from the data. Misaligned data is
// quantised through an aligned copy. As with the vendor's library, results
// follow the caller's rounding mode (fesetround); all but FE_TONEAREST are slow.
int HI_GFPQ_QuantAndDeQuant(float* data, unsigned int count, unsigned int bits,
    GFPQ_PARAM_ST* param);
int HI_GFPQ_QuantAndDeQuant(double* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param);

// The same with `data` in GPU memory, on `cuda_stream` (a cudaStream_t; NULL
// for the default stream). The parameter is in CPU memory. `cublas_handle` is
// there for the vendor's library, and not used.
int HI_GFPQ_QuantAndDeQuant_GPU(float* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param, void* cuda_stream = 0,
    void* cublas_handle = 0);
int HI_GFPQ_QuantAndDeQuant_GPU(double* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param, void* cuda_stream = 0,
    void* cublas_handle = 0);

// Names without C++ mangling, for callers such as Python's ctypes.
extern "C" int HI_GFPQ_QuantAndDeQuant_PY(float* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param);
extern "C" int HI_GFPQ_QuantAndDeQuant_GPU_PY(float* data, unsigned int count,
    unsigned int bits, GFPQ_PARAM_ST* param, void* cuda_stream,
    void* cublas_handle);

int HI_GFPQ_GetInfo(GFPQ_INFO_ST* info);

#endif  // GFPQ_HPP_
