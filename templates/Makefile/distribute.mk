	install -m 644 $(GFPQ_LIB) $(DISTRIBUTE_DIR)/lib
