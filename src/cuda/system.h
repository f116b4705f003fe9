/* cuda/system: system headers that only the GPU part needs: opening libraries, listing folders, keeping the locale. */
#include <locale.h>
#if !defined(_WIN32)
    #include <dirent.h>
    #include <dlfcn.h>
#endif
