/* The compiled form of the rules that run over every value of a model: oneflower/aggregation/kernel.py calls it.

   Each value comes from the same operations in the same order as in the NumPy form beside it, each rounded to the
   array's own type. So the bytes are the same, whatever the vectors' width: no operation runs across coordinates,
   but for maxima of integers. Build it with -ffp-contract=off and without -ffast-math: hatch_build.py.

   The caller has checked pointers, types and counts. Nothing here allocates, and nothing is written but `out`,
   `moments`, `wires` and the small results. The file includes itself once per type: T, its bits B. */

#ifndef T

#include <stdint.h>
#include <string.h>
#include <math.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define STRIP_BYTES 32768 /* of a sum that stays in the nearest cache while row after row is added */
#define ROWS_AT_ONCE 10   /* rows that one loop reads: enough streams for the memory, few enough for registers */
#define VECTOR_BYTES 32   /* of products */
#define DEPTH 64          /* products that a lane sums in its own type: what is packed stays in the nearest cache */
#define TILE 3            /* rows by rows whose products are summed in registers */
#define LINE 64           /* bytes that the processor takes from memory at a time */
#define LARGE (4 << 20)   /* bytes of a result that goes past the caches */
#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))
#define EACH _Pragma("GCC ivdep") for (size_t i = start; i < stop; i++)

/* One object runs on every processor of its kind: the wider vectors are chosen when it is loaded. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define WIDEST
#endif

#ifndef SOURCE
#define SOURCE ""
#endif

enum { ADAM, YOGI, ADAGRAD, MOMENTUM };
enum { RATE, DECAY_1, TAKEN_1, DECAY_2, TAKEN_2, TAU }; /* of `constants` */

typedef struct { /* comparator: the smaller value of two wires to `low`, the larger to `high`; -1 for neither */
    int32_t left, right, low, high;
} Step;

/* Copy a strip to where it is not read again soon. A large result goes past the caches: otherwise each of its lines
   is first read from memory, in order to be overwritten. */
INLINE void put(void *to, const void *from, size_t bytes, int past_caches)
{
#ifdef __SSE2__
    if (past_caches) {
        for (; bytes >= sizeof(__m128i); bytes -= sizeof(__m128i), to = (__m128i *)to + 1, from = (const __m128i *)from + 1)
            _mm_stream_si128((__m128i *)to, _mm_load_si128((const __m128i *)from));
    }
#endif
    memcpy(to, from, bytes);
}

static int past_caches(const void *result, size_t bytes) { return bytes >= LARGE && (uintptr_t)result % 16 == 0; }

/* What was put past the caches is seen by all threads before the call returns. */
INLINE void settle(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}

/* The digest of the sources that this was compiled from. */
EXPORT const char *oneflower_source(void) { return SOURCE; }

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(name) JOIN(name, SUFFIX)

#define T float
#define B uint32_t
#define SUFFIX _f32
#define ROOT sqrtf
#include "kernel.c"
#undef T
#undef B
#undef SUFFIX
#undef ROOT

#define T double
#define B uint64_t
#define SUFFIX _f64
#define ROOT sqrt
#include "kernel.c"
#undef T
#undef B
#undef SUFFIX
#undef ROOT

#define T float
#define W float
#define SUFFIX _f32
#include "kernel_products.h"
#undef W
#undef SUFFIX
#define W double
#define SUFFIX _f32_f64
#include "kernel_products.h"
#undef T
#undef SUFFIX
#define T double
#define SUFFIX _f64
#include "kernel_products.h"

/* The streaming mean: the largest |value|, the sums in fixed point, and the mean of them; aggregation/folding.py.
   rint(y) is taken in two halves, because no vector has an instruction for 64 bits: |y| is at most 2^57, so the
   rest below 2^32 is exact, and adding 1.5 * 2^52 rounds it to the nearest integer, half to even. */
#define ROUNDER 0x1.8p52

INLINE int64_t rounded(double y)
{
    double high = y * 0x1p-32 + ROUNDER, low = y - (high - ROUNDER) * 0x1p32 + ROUNDER, zero = ROUNDER;
    int64_t upper, lower, none;
    memcpy(&upper, &high, sizeof upper);
    memcpy(&lower, &low, sizeof lower);
    memcpy(&none, &zero, sizeof none);
    return (int64_t)((uint64_t)(upper - none) << 32) + (lower - none);
}

EXPORT WIDEST float oneflower_largest(size_t stop, const float *values)
{
    const size_t start = 0;
    uint32_t top = 0;
    EACH { uint32_t raw = bits_f32(values[i]); top = raw > top ? raw : top; }
    return value_f32(top);
}

EXPORT WIDEST void oneflower_fold(size_t stop, const float *values, double factor, int64_t *sums)
{
    const size_t start = 0;
    EACH sums[i] = (int64_t)((uint64_t)sums[i] + (uint64_t)rounded((double)values[i] * factor));
}

EXPORT WIDEST void oneflower_settle(size_t stop, const int64_t *sums, double scale, double total, float *out)
{
    const size_t start = 0;
    EACH out[i] = (float)((double)sums[i] * scale / total);
}

#else

/* Bits of |value|: they are ordered as the values are, infinity and NaN above all numbers. */
INLINE B NAME(bits)(T value)
{
    B raw;
    memcpy(&raw, &value, sizeof raw);
    return raw & ((B)-1 >> 1);
}

INLINE T NAME(value)(B bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#define LARGER(top, candidate) do { B c_ = (candidate); top = c_ > top ? c_ : top; } while (0)

#define STRIP (STRIP_BYTES / sizeof(T))

/* sum = sum of factors[j] * rows[j] from `base` on; with `more`, added to what sum holds. */
#define ADD(j) s = s + r##j[i] * f##j;
#define ROW(j) const T *r##j = rows[j] + base; const T f##j = factors[j];
#define SUM(k, rest) \
    case k: { \
        ROWS_##k \
        if (more) { \
            EACH { T s = sum[i] + r0[i] * f0; rest sum[i] = s; } \
        } else { \
            EACH { T s = r0[i] * f0; rest sum[i] = s; } \
        } \
        break; \
    }
#ifndef ROWS_1
#define ROWS_1 ROW(0)
#define ROWS_2 ROWS_1 ROW(1)
#define ROWS_3 ROWS_2 ROW(2)
#define ROWS_4 ROWS_3 ROW(3)
#define ROWS_5 ROWS_4 ROW(4)
#define ROWS_6 ROWS_5 ROW(5)
#define ROWS_7 ROWS_6 ROW(6)
#define ROWS_8 ROWS_7 ROW(7)
#define ROWS_9 ROWS_8 ROW(8)
#define ROWS_10 ROWS_9 ROW(9)
#define ADD_2 ADD(1)
#define ADD_3 ADD_2 ADD(2)
#define ADD_4 ADD_3 ADD(3)
#define ADD_5 ADD_4 ADD(4)
#define ADD_6 ADD_5 ADD(5)
#define ADD_7 ADD_6 ADD(6)
#define ADD_8 ADD_7 ADD(7)
#define ADD_9 ADD_8 ADD(8)
#define ADD_10 ADD_9 ADD(9)
#endif

INLINE void NAME(add_rows)(const T *const *rows, const T *factors, size_t count, int more, size_t base, size_t stop,
                           T *sum)
{
    const size_t start = 0;
    switch (count) {
        SUM(1, ) SUM(2, ADD_2) SUM(3, ADD_3) SUM(4, ADD_4) SUM(5, ADD_5)
        SUM(6, ADD_6) SUM(7, ADD_7) SUM(8, ADD_8) SUM(9, ADD_9) SUM(10, ADD_10)
    }
}

/* Compiled by itself, because its many loops take most of the compiler's time. */
static WIDEST void NAME(strip)(const T *const *rows, const T *factors, size_t count, size_t base, size_t stop, T *sum)
{
    for (size_t first = 0; first < count; first += ROWS_AT_ONCE) {
        size_t here = count - first < ROWS_AT_ONCE ? count - first : ROWS_AT_ONCE;
        NAME(add_rows)(rows + first, factors + first, here, first > 0, base, stop, sum);
    }
}

/* The weighted mean. Returns whether all of it is finite. */
EXPORT WIDEST int NAME(mean)(size_t count, const T *const *rows, const T *factors, size_t size, T *out)
{
    _Alignas(64) T sum[STRIP];
    B top = 0;
    const int past = past_caches(out, size * sizeof(T));
    for (size_t base = 0; base < size; base += STRIP) {
        const size_t start = 0, stop = size - base < STRIP ? size - base : STRIP;
        NAME(strip)(rows, factors, count, base, stop, sum);
        EACH LARGER(top, NAME(bits)(sum[i]));
        put(out + base, sum, stop * sizeof(T), past);
    }
    settle();
    return isfinite(NAME(value)(top));
}

#define MEAN_TOPS \
    LARGER(after, NAME(bits)(sum[i])); \
    LARGER(before, NAME(bits)(sent[i])); \
    LARGER(change, NAME(bits)(sum[i] - sent[i]));
#define MOMENT_TOP(j, moment) \
    B raw_##j; \
    memcpy(&raw_##j, (moment) + i, sizeof raw_##j); \
    all[j] |= raw_##j; \
    LARGER(top[j], raw_##j & ((B)-1 >> 1));

/* The weighted mean, and the largest |values| that a step from x with these moments meets:
   tops = |mean - x|, |x|, |mean|, each moment, of which there are one or two. signs[j]: whether a value of moment j has the sign of a negative. */
EXPORT WIDEST void NAME(mean_and_tops)(size_t count, const T *const *rows, const T *factors, size_t size, T *out,
                                       const T *x, size_t moment_count, const T *const *moments, T *tops,
                                       int32_t *signs)
{
    _Alignas(64) T sum[STRIP];
    B change = 0, before = 0, after = 0, top[2] = {0, 0}, all[2] = {0, 0};
    const int past = past_caches(out, size * sizeof(T));
    for (size_t base = 0; base < size; base += STRIP) {
        const size_t start = 0, stop = size - base < STRIP ? size - base : STRIP;
        const T *sent = x + base, *first = moments[0] + base, *last = moments[moment_count - 1] + base;
        NAME(strip)(rows, factors, count, base, stop, sum);
        if (moment_count == 1) {
            EACH { MEAN_TOPS MOMENT_TOP(0, first) }
        } else {
            EACH { MEAN_TOPS MOMENT_TOP(0, first) MOMENT_TOP(1, last) }
        }
        put(out + base, sum, stop * sizeof(T), past);
    }
    settle();
    tops[0] = NAME(value)(change);
    tops[1] = NAME(value)(before);
    tops[2] = NAME(value)(after);
    for (size_t j = 0; j < moment_count; j++) {
        tops[3 + j] = NAME(value)(top[j]);
        signs[j] = all[j] >> (8 * sizeof(B) - 1);
    }
}

/* The step of a server optimizer, in place: mean becomes the new model. The caller knows that all stays finite. */
EXPORT WIDEST void NAME(step)(int kind, size_t stop, const T *x, T *mean, T *const *moments, const T *constants)
{
    const T rate = constants[RATE], decay_1 = constants[DECAY_1], taken_1 = constants[TAKEN_1];
    const T decay_2 = constants[DECAY_2], taken_2 = constants[TAKEN_2], tau = constants[TAU];
    const size_t start = 0;
    T *m = moments[0], *v = kind == ADAM || kind == YOGI ? moments[1] : moments[0];
    switch (kind) {
    case ADAM:
        EACH {
            T delta = mean[i] - x[i], first = m[i] * decay_1 + delta * taken_1;
            T second = v[i] * decay_2 + delta * delta * taken_2;
            m[i] = first;
            v[i] = second;
            mean[i] = x[i] + first / (ROOT(second) + tau) * rate;
        }
        break;
    case YOGI:
        EACH {
            T delta = mean[i] - x[i], first = m[i] * decay_1 + delta * taken_1;
            T square = delta * delta, over = v[i] - square;
            T sign = over > 0 ? (T)1 : over < 0 ? (T)-1 : (T)0;
            T second = v[i] - square * taken_2 * sign;
            m[i] = first;
            v[i] = second;
            mean[i] = x[i] + first / (ROOT(second) + tau) * rate;
        }
        break;
    case ADAGRAD:
        EACH {
            T delta = mean[i] - x[i], second = v[i] + delta * delta;
            v[i] = second;
            mean[i] = x[i] + delta / (ROOT(second) + tau) * rate;
        }
        break;
    case MOMENTUM:
        EACH {
            T delta = mean[i] - x[i], next = v[i] * decay_1 + delta;
            v[i] = next;
            mean[i] = x[i] + next * rate;
        }
        break;
    }
}

/* One comparator over a strip: the smaller of two values to `low`, the larger to `high`, where they are wanted. */
INLINE void NAME(compare)(const T *a, const T *b, T *low, T *high, size_t stop)
{
    const size_t start = 0;
    if (low && high) {
        EACH { T p = a[i], q = b[i]; low[i] = p < q ? p : q; high[i] = p > q ? p : q; }
    } else if (low) {
        EACH { T p = a[i], q = b[i]; low[i] = p < q ? p : q; }
    } else {
        EACH { T p = a[i], q = b[i]; high[i] = p > q ? p : q; }
    }
}

/* Whether zeros of both signs are among the rows at this coordinate. */
INLINE int NAME(mixed_zeros)(size_t count, const T *const *rows, size_t i)
{
    int plus = 0, minus = 0;
    for (size_t j = 0; j < count; j++)
        if (rows[j][i] == 0) *(signbit(rows[j][i]) ? &minus : &plus) = 1;
    return plus && minus;
}

/* The mean of the kept wires after a network of comparators, block by block.

   Wires 0 to count - 1 are the rows; the others are scratch, each `strip` values and one LINE apart, in memory that
   has one LINE more. A block is left to the caller, who
   finds left[block] = 1, where NumPy's result depends on more than the values: the mean is not finite, a value is NaN,
   or the mean is a zero where zeros of both signs met (of two equal values a minimum may take either). */
EXPORT WIDEST void NAME(trimmed)(size_t count, const T *const *rows, size_t size, size_t block, size_t strip,
                                 size_t step_count, const Step *steps, size_t kept_count, const int32_t *kept,
                                 T *scratch, T *out, uint8_t *left)
{
    const T divisor = (T)kept_count;
    T *wires = (T *)(((uintptr_t)scratch + LINE - 1) & ~(uintptr_t)(LINE - 1));
    const size_t stride = strip + LINE / sizeof(T);
    for (size_t begin = 0, number = 0; begin < size; begin += block, number++) {
        size_t end = size - begin < block ? size : begin + block;
        B top = 0, least = (B)-1, odd = 0;
        for (size_t base = begin; base < end; base += strip) {
            const size_t start = 0, stop = end - base < strip ? end - base : strip;
            T *result = out + base;
#define SCRATCH(id) (wires + ((size_t)(id) - count) * stride)
#define WIRE(id) ((size_t)(id) < count ? rows[id] + base : SCRATCH(id))
            for (size_t j = 0; j < count; j += 2) {
                const T *a = rows[j] + base, *b = rows[j + 1 < count ? j + 1 : j] + base;
                EACH odd |= isunordered(a[i], b[i]) ? 1 : 0;
            }
            for (size_t s = 0; s < step_count; s++) {
                const Step each = steps[s];
                NAME(compare)(WIRE(each.left), WIRE(each.right), each.low < 0 ? NULL : SCRATCH(each.low),
                              each.high < 0 ? NULL : SCRATCH(each.high), stop);
            }
            memcpy(result, WIRE(kept[0]), stop * sizeof(T));
            size_t k = 1;
            for (; k + 3 < kept_count; k += 4) {
                const T *a = WIRE(kept[k]), *b = WIRE(kept[k + 1]), *c = WIRE(kept[k + 2]), *d = WIRE(kept[k + 3]);
                EACH result[i] = result[i] + a[i] + b[i] + c[i] + d[i];
            }
            for (; k < kept_count; k++) {
                const T *a = WIRE(kept[k]);
                EACH result[i] = result[i] + a[i];
            }
            EACH {
                T mean = result[i] / divisor;
                B raw = NAME(bits)(mean);
                result[i] = mean;
                LARGER(top, raw);
                least = raw < least ? raw : least;
            }
        }
        left[number] = odd || !isfinite(NAME(value)(top));
        for (size_t i = begin; least == 0 && !left[number] && i < end; i++)
            left[number] = out[i] == 0 && NAME(mixed_zeros)(count, rows, i);
    }
}

/* Whether every value is a finite number. */
EXPORT WIDEST int NAME(finite)(size_t stop, const T *values)
{
    const size_t start = 0;
    B top = 0;
    EACH LARGER(top, NAME(bits)(values[i]));
    return isfinite(NAME(value)(top));
}

#endif
