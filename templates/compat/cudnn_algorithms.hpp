
#if CUDNN_VERSION >= 8000
// cuDNN 8 removed these names. Its own functions list the algorithms, the
// fastest first; here the first that keeps to the workspace limit is chosen.
enum {
  CUDNN_CONVOLUTION_FWD_SPECIFY_WORKSPACE_LIMIT,
  CUDNN_CONVOLUTION_BWD_FILTER_SPECIFY_WORKSPACE_LIMIT,
  CUDNN_CONVOLUTION_BWD_DATA_SPECIFY_WORKSPACE_LIMIT
};

template <typename Perf, typename Algo>
inline cudnnStatus_t cudnnFirstWithinLimit(cudnnStatus_t status,
    const Perf* perfs, int count, size_t limit, Algo* algo) {
  for (int i = 0; status == CUDNN_STATUS_SUCCESS && i < count; ++i) {
    if (perfs[i].status == CUDNN_STATUS_SUCCESS && perfs[i].memory <= limit) {
      *algo = perfs[i].algo;
      return CUDNN_STATUS_SUCCESS;
    }
  }
  return status == CUDNN_STATUS_SUCCESS ? CUDNN_STATUS_NOT_SUPPORTED : status;
}

inline cudnnStatus_t cudnnGetConvolutionForwardAlgorithm(
    cudnnHandle_t handle, cudnnTensorDescriptor_t bottom,
    cudnnFilterDescriptor_t filter, cudnnConvolutionDescriptor_t conv,
    cudnnTensorDescriptor_t top, int /* preference */, size_t limit,
    cudnnConvolutionFwdAlgo_t* algo) {
  cudnnConvolutionFwdAlgoPerf_t perfs[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
  int count = 0;
  const cudnnStatus_t status = cudnnGetConvolutionForwardAlgorithm_v7(handle,
      bottom, filter, conv, top, CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count,
      perfs);
  return cudnnFirstWithinLimit(status, perfs, count, limit, algo);
}

inline cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm(
    cudnnHandle_t handle, cudnnTensorDescriptor_t bottom,
    cudnnTensorDescriptor_t top, cudnnConvolutionDescriptor_t conv,
    cudnnFilterDescriptor_t filter, int /* preference */, size_t limit,
    cudnnConvolutionBwdFilterAlgo_t* algo) {
  const int kMaxCount = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT;
  cudnnConvolutionBwdFilterAlgoPerf_t perfs[kMaxCount];
  int count = 0;
  const cudnnStatus_t status = cudnnGetConvolutionBackwardFilterAlgorithm_v7(
      handle, bottom, top, conv, filter, kMaxCount, &count, perfs);
  return cudnnFirstWithinLimit(status, perfs, count, limit, algo);
}

inline cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm(
    cudnnHandle_t handle, cudnnFilterDescriptor_t filter,
    cudnnTensorDescriptor_t top, cudnnConvolutionDescriptor_t conv,
    cudnnTensorDescriptor_t bottom, int /* preference */, size_t limit,
    cudnnConvolutionBwdDataAlgo_t* algo) {
  const int kMaxCount = CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT;
  cudnnConvolutionBwdDataAlgoPerf_t perfs[kMaxCount];
  int count = 0;
  const cudnnStatus_t status = cudnnGetConvolutionBackwardDataAlgorithm_v7(
      handle, filter, top, conv, bottom, kMaxCount, &count, perfs);
  return cudnnFirstWithinLimit(status, perfs, count, limit, algo);
}
#endif  // CUDNN_VERSION >= 8000
