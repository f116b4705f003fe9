/* cuda/lock: a mutex. Nothing without threads. */

typedef struct hybrid__lock {
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_t mutex;
#elif defined(HYBRID__THREADS_WIN32)
    SRWLOCK mutex;
#else
    int unused;
#endif
} hybrid__lock;

static bool hybrid__lock_create(hybrid__lock *lock)
{
#if defined(HYBRID__THREADS_POSIX)
    return pthread_mutex_init(&lock->mutex, NULL) == 0;
#elif defined(HYBRID__THREADS_WIN32)
    InitializeSRWLock(&lock->mutex);
    return true;
#else
    lock->unused = 0;
    return true;
#endif
}

static void hybrid__lock_destroy(hybrid__lock *lock)
{
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_destroy(&lock->mutex);
#else
    HYBRID__UNUSED(lock);
#endif
}

static void hybrid__lock_take(hybrid__lock *lock)
{
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_lock(&lock->mutex);
#elif defined(HYBRID__THREADS_WIN32)
    AcquireSRWLockExclusive(&lock->mutex);
#else
    HYBRID__UNUSED(lock);
#endif
}

static void hybrid__lock_give(hybrid__lock *lock)
{
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_unlock(&lock->mutex);
#elif defined(HYBRID__THREADS_WIN32)
    ReleaseSRWLockExclusive(&lock->mutex);
#else
    HYBRID__UNUSED(lock);
#endif
}
