/* core/abi: the versions and sizes of a caller, held against those of the library. */
#ifndef HYB_CORE_ABI_C
#define HYB_CORE_ABI_C
#include "../api/api.h"
#include "base.c"
#include "fpenv.c"

/* 0: there is no such struct, or this build has cut it out. */
static size_t hyb_struct_size(const char *name)
{
    static const hybrid_struct_size ours[] = {
#define HYB_X(type) { #type, sizeof(type) },
        HYBRID_STRUCTS(HYB_X)
#undef HYB_X
    };
    size_t i;
    for (i = 0; i < HYB_COUNT(ours); i++)
        if (!strcmp(ours[i].name, name)) return ours[i].size;
    return 0;
}

HYB_BORDER(hybrid_result, hybrid_abi_check,
           (int32_t version_number, const hybrid_struct_size *structs, size_t n, hybrid_error *error),
           (version_number, structs, n, error))
{
    size_t i, size;
    if (n && !structs) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_abi_check: structs is NULL");
    if (version_number / 100 != HYBRID_VERSION_NUMBER / 100) /* a patch changes nothing that a caller can see */
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the caller was made for version %d.%d of hybrid, and this library is %s: make both from the "
                        "same hybrid.h",
                        (int)(version_number / 10000), (int)(version_number / 100 % 100), HYBRID_VERSION);
    for (i = 0; i < n; i++) {
        if (!structs[i].name)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_abi_check: name %.0f is NULL", (double)i);
        if ((size = hyb_struct_size(structs[i].name)) == 0)
            return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                            "this build of hybrid has no struct '%.60s': build it without the HYBRID_NO_... that cuts "
                            "it out, or take the hybrid.h that the caller was made for",
                            structs[i].name);
        if (size != structs[i].size)
            return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                            "%s has %.0f bytes in this library (%s) and %.0f in the caller: make both from the same "
                            "hybrid.h",
                            structs[i].name, (double)size, HYBRID_VERSION, (double)structs[i].size);
    }
    return HYBRID_OK;
}
#endif
