# The GFPQ quantizer of the Quant layer.
ifeq ($(CPU_ONLY), 1)
	GFPQ_NAME := gfpq
else
	GFPQ_NAME := gfpq_gpu
endif
LIBRARIES += $(GFPQ_NAME)
# Its copy beside Caffe's own library, where all that is built looks for it.
GFPQ_LIB := $(LIB_BUILD_DIR)/lib$(GFPQ_NAME).so.1
