/* cuda/system: system headers that only the GPU part needs: opening libraries, listing folders, keeping the locale. */
#ifndef HYB_CUDA_SYSTEM_H
#define HYB_CUDA_SYSTEM_H
#include <locale.h>
#if !defined(_WIN32)
    #include <dirent.h>
    #include <dlfcn.h>
#endif
#endif
