$(DYNAMIC_NAME): | $(GFPQ_LIB)

$(GFPQ_LIB): GFPQLibs/lib/lib$(GFPQ_NAME).so.1 | $(LIB_BUILD_DIR)
	@ echo CP $@
	$(Q)cp -L $< $@

# Net has one more member: a Python module built before it has another Net.
$(PY$(PROJECT)_SO): include/$(PROJECT)/net.hpp

