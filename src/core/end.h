/* core/end: closes what core/begin opened. */
#if defined(__clang__)
    #pragma clang diagnostic pop
    #pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
    #pragma GCC pop_options
    #pragma GCC diagnostic pop
#elif defined(_MSC_VER)
    #pragma warning(pop)
#endif
