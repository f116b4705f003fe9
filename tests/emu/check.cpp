#include "device.h"
bool emu_checking;
void emu_check_setup(uintptr_t, uint64_t) {}
void emu_check_allocated(uintptr_t, uint64_t, bool) {}
void emu_check_written(uintptr_t, uint64_t) {}
void emu_check_copied(uintptr_t, uintptr_t, uint64_t) {}
void emu_check_launch(const emu_launch *, uintptr_t, uint64_t) {}
void emu_check_block(char *, unsigned) {}
void emu_check_access(const void *, int, int, const void *) {}
