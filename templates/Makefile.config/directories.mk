
# The GFPQ quantizer of the Quant layer.
INCLUDE_DIRS += ./GFPQLibs/include
LIBRARY_DIRS += ./GFPQLibs/lib
