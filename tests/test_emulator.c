/* The emulated GPU itself: what it computes, and that it notices what it is for [emu] [emu-reordered] [emu-check]
 * [no-asan].
 * The test lives beside the emulator, for it can be built without hybrid. */
#include "emu/selftest.c"
