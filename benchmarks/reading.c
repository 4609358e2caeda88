/* The fastest way that one core reads memory: benchmarks/read_share.py compiles it. */

#include <stddef.h>
#include <stdint.h>

typedef uint64_t Vector __attribute__((vector_size(32), aligned(8)));

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define WIDEST
#endif

/* Read an array at STREAMS places at once; the result depends on every word, so that none is left out. */
#define READ(STREAMS) \
    WIDEST uint64_t read_##STREAMS(const char *from, size_t bytes) \
    { \
        const size_t part = bytes / STREAMS / 128 * 128; \
        Vector a = {0}, b = {0}, c = {0}, d = {0}; \
        for (size_t i = 0; i < part; i += 128) \
            for (int stream = 0; stream < STREAMS; stream++) { \
                const char *here = from + stream * part + i; \
                a |= *(const Vector *)here; \
                b |= *(const Vector *)(here + 32); \
                c |= *(const Vector *)(here + 64); \
                d |= *(const Vector *)(here + 96); \
            } \
        a |= b | c | d; \
        return a[0] | a[1] | a[2] | a[3]; \
    }

READ(1)
READ(4)
READ(8)
