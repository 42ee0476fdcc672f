$(DYNAMIC_NAME): | $(GFPQ_LIB)

$(GFPQ_LIB): GFPQLibs/lib/lib$(GFPQ_NAME).so.1 | $(LIB_BUILD_DIR)
	@ echo CP $@
	$(Q)cp -L $< $@

