/* Inner products of the rows' differences from the first row: kernel.c includes this once per pair of types, T of
   the rows and W of differences and products.

   Each lane of a vector sums the products of DEPTH coordinates in W; then the lanes are added to lanes of float64,
   and these, at the end, to one another. So the order is the same on every processor, and the error of float32 does
   not grow with the model. It is not the order of a BLAS: docs/decisions/234. */

#define V NAME(vector)
#define GIVEN NAME(given)
#define EXACT NAME(exact)
#define LANES (VECTOR_BYTES / sizeof(W))
typedef W V __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(W)), may_alias));
typedef T GIVEN __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));
typedef double EXACT __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));

/* Where the differences of row r are for one step: TILE rows side by side, step after step. */
#define PLACE(r, step) (packed + ((((r) - 1) / TILE * DEPTH + (step)) * TILE + ((r) - 1) % TILE) * LANES)

/* Take the differences at `length` coordinates from `start` on; a last step that is not full ends with zeros. */
INLINE void NAME(pack)(size_t count, const T *const *rows, size_t start, size_t length, W *packed)
{
    const size_t full = length / LANES, rest = length % LANES;
    for (size_t first = 1; first < count; first += TILE) {
        const size_t here = count - first < TILE ? count - first : TILE;
        const T *centre = rows[0] + start;
        W *to = PLACE(first, 0);
        for (size_t step = 0; step < full; step++, to += TILE * LANES) {
            const V sent = __builtin_convertvector(*(const GIVEN *)(centre + step * LANES), V);
            for (size_t k = 0; k < here; k++)
                *(V *)(to + k * LANES) =
                    __builtin_convertvector(*(const GIVEN *)(rows[first + k] + start + step * LANES), V) - sent;
        }
        for (size_t k = 0; rest && k < here; k++)
            for (size_t i = 0; i < LANES; i++)
                to[k * LANES + i] = i < rest ? (W)rows[first + k][start + full * LANES + i] -
                                                   (W)centre[full * LANES + i] : (W)0;
    }
}

/* Add the products of TILE rows with TILE others. Meanwhile two of the rows' next coordinates are fetched: memory
   has nothing else to do. */
INLINE void NAME(tile)(size_t steps, const W *left, const W *right, double *lanes, const T *next, const T *after)
{
    V s00 = {0}, s01 = {0}, s02 = {0}, s10 = {0}, s11 = {0}, s12 = {0}, s20 = {0}, s21 = {0}, s22 = {0};
    for (size_t step = 0; step < steps; step++, left += TILE * LANES, right += TILE * LANES) {
        const V b0 = *(const V *)right, b1 = *(const V *)(right + LANES), b2 = *(const V *)(right + 2 * LANES);
        V a = *(const V *)left;
        __builtin_prefetch(next + step * LANES);
        __builtin_prefetch(after + step * LANES);
        s00 += a * b0; s01 += a * b1; s02 += a * b2;
        a = *(const V *)(left + LANES);
        s10 += a * b0; s11 += a * b1; s12 += a * b2;
        a = *(const V *)(left + 2 * LANES);
        s20 += a * b0; s21 += a * b1; s22 += a * b2;
    }
    const V sums[TILE * TILE] = {s00, s01, s02, s10, s11, s12, s20, s21, s22};
    for (size_t p = 0; p < TILE * TILE; p++)
        *(EXACT *)(lanes + p * LANES) += __builtin_convertvector(sums[p], EXACT);
}

/* products[i][j] += <rows[i] - rows[0], rows[j] - rows[0]>: count x count numbers, of which the first row and column
   stay. `packed` and `lanes` are zeros, so many. Returns whether they are enough: otherwise nothing is done. */
EXPORT WIDEST int NAME(products)(size_t count, const T *const *rows, size_t size, W *packed, size_t packed_size,
                                 double *lanes, size_t lane_count, double *products)
{
    const size_t tiles = (count - 1 + TILE - 1) / TILE, width = DEPTH * LANES;
    if (packed_size < tiles * TILE * width || lane_count < tiles * (tiles + 1) / 2 * TILE * TILE * LANES) return 0;
    for (size_t start = 0; start < size; start += width) {
        const size_t length = size - start < width ? size - start : width, steps = (length + LANES - 1) / LANES;
        const size_t ahead = size - start < 2 * width ? start : start + width;
        NAME(pack)(count, rows, start, length, packed);
        for (size_t i = 0, number = 0; i < tiles; i++)
            for (size_t j = i; j < tiles; j++, number++) {
                const size_t next = 2 * number < count ? 2 * number : 0, after = next + 1 < count ? next + 1 : 0;
                NAME(tile)(steps, PLACE(i * TILE + 1, 0), PLACE(j * TILE + 1, 0), lanes + number * TILE * TILE * LANES,
                           rows[next] + ahead, rows[after] + ahead);
            }
    }
    for (size_t i = 0, number = 0; i < tiles; i++)
        for (size_t j = i; j < tiles; j++, number++)
            for (size_t p = 0; p < TILE * TILE; p++) {
                const size_t a = i * TILE + p / TILE + 1, b = j * TILE + p % TILE + 1;
                const double *each = lanes + (number * TILE * TILE + p) * LANES;
                double sum = 0;
                for (size_t k = 0; k < LANES; k++) sum += each[k];
                if (a > b || b >= count) continue;
                products[a * count + b] += sum;
                if (a != b) products[b * count + a] += sum;
            }
    return 1;
}

#undef V
#undef GIVEN
#undef EXACT
#undef LANES
#undef PLACE
