/* The local training of the image-classification app's network, for `robustness.py`: 28 x 28 grey images.
 *
 * The same steps as the app's in PyTorch, five times as fast on one core: channels are innermost, each
 * pass over a layer does all that can be done in one, and the gradient of the first layers is never stored.
 * Sums are in another order, so that the last digits differ. The gradient of the two convolutions' biases is
 * left out: batch normalisation takes the mean away, and it is zero but for rounding.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define INLINE static inline __attribute__((always_inline))
typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4)));

enum { A = 28, B = 14, C = 7, CA = 16, CB = 32, FLAT = C * C * CB, HIDDEN = 64, CLASSES = 10, MOST = 256 };

typedef struct {
    float w1[9][CA], w2[9][CA][CB], back2[9][CB][CA], u2[16][CA][CB], v2[16][CB][CA], w3[HIDDEN][FLAT], w4[CLASSES][HIDDEN];
    float gamma1[CA], beta1[CA], gamma2[CB], beta2[CB], b1[CA], b2[CB], b3[HIDDEN], b4[CLASSES];
} Weights;

typedef struct {
    float x[MOST][A + 2][A + 2];        /* the images with a border of zeros */
    float z1[MOST][A][A][CA];           /* before normalisation */
    float p1[MOST][B + 2][B + 2][CA];   /* after pooling and ReLU, with a border of zeros */
    float top1[MOST][B][B][CA];         /* z1 where the largest of four was */
    int32_t at1[MOST][B][B][CA];        /* which of the four; -1: ReLU closed it */
    float d1[MOST][B][B][CA];           /* gradient of p1 */
    float z2[MOST][B][B][CB];
    float p2[MOST][C][C][CB], top2[MOST][C][C][CB], d2[MOST][C][C][CB];
    int32_t at2[MOST][C][C][CB];
    float dz2[B + 2][B + 2][CB], dz1[2][A][CA], v[16 * C * C * CA], m[16 * C * C * CB];
    float h[MOST][HIDDEN], dh[MOST][HIDDEN], out[MOST][CLASSES];
    Weights g;
} Work;

INLINE v8 load(const float *p) { return *(const v8 *)p; }
INLINE v8 all(float x) { return (v8){x, x, x, x, x, x, x, x}; }
INLINE i8 every(int32_t x) { return (i8){x, x, x, x, x, x, x, x}; }
INLINE i8 choose(i8 mask, i8 a, i8 b) { return (mask & a) | (~mask & b); }
INLINE v8 pick(i8 mask, v8 a, v8 b) { return (v8)choose(mask, (i8)a, (i8)b); }
INLINE float total(v8 x) { return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7])); }

/* --- the first convolution, 3 x 3 with a border ------------------------------------------------------------- */

/* The sixteen output channels of four pixels of a row. */
INLINE void pixels(const float *in, const float *w, const float *bias, float *out)
{
    v8 sum[4][2];
    for (int p = 0; p < 4; p++) {
        sum[p][0] = load(bias);
        sum[p][1] = load(bias + 8);
    }
    for (int k = 0; k < 9; k++) {
        const float *from = in + (k / 3) * (A + 2) + k % 3;
        v8 low = load(w + k * CA), high = load(w + k * CA + 8);
        for (int p = 0; p < 4; p++) {
            v8 x = all(from[p]);
            sum[p][0] += x * low;
            sum[p][1] += x * high;
        }
    }
    for (int p = 0; p < 4; p++) {
        *(v8 *)(out + p * CA) = sum[p][0];
        *(v8 *)(out + p * CA + 8) = sum[p][1];
    }
}

INLINE void convolve(const float *in, const float *w, const float *bias, float *out)
{
    for (int y = 0; y < A; y++)
        for (int x = 0; x < A; x += 4) pixels(in + y * (A + 2) + x, w, bias, out + (y * A + x) * CA);
}

/* --- the same, for the second layer, with 4/9 of the products: Winograd's F(2 x 2, 3 x 3), Lavin and Gray 2016 --- */

/* The weights of one layer, transformed: G g G^T. */
INLINE void transform(const float *w, float *u, const int ic, const int oc)
{
    for (int at = 0; at < ic * oc; at += 8) {
        v8 half[4][3];
        for (int j = 0; j < 3; j++) {
            v8 a = load(w + j * ic * oc + at), b = load(w + (3 + j) * ic * oc + at), c = load(w + (6 + j) * ic * oc + at);
            half[0][j] = a;
            half[1][j] = (a + b + c) * 0.5f;
            half[2][j] = (a - b + c) * 0.5f;
            half[3][j] = c;
        }
        for (int i = 0; i < 4; i++) {
            v8 *h = half[i];
            float *to = u + (size_t)4 * i * ic * oc + at;
            *(v8 *)to = h[0];
            *(v8 *)(to + ic * oc) = (h[0] + h[1] + h[2]) * 0.5f;
            *(v8 *)(to + 2 * ic * oc) = (h[0] - h[1] + h[2]) * 0.5f;
            *(v8 *)(to + 3 * ic * oc) = h[2];
        }
    }
}

/* Sixteen output channels of `count` tiles at one of the sixteen places. */
INLINE void tiles(const float *v, const float *u, float *m, const int ic, const int oc, const int count)
{
    v8 sum[4][2];
    for (int t = 0; t < count; t++) sum[t][0] = sum[t][1] = all(0);
    for (int c = 0; c < ic; c++) {
        v8 low = load(u + c * oc), high = load(u + c * oc + 8);
        for (int t = 0; t < count; t++) {
            v8 x = all(v[t * ic + c]);
            sum[t][0] += x * low;
            sum[t][1] += x * high;
        }
    }
    for (int t = 0; t < count; t++) {
        *(v8 *)(m + t * oc) = sum[t][0];
        *(v8 *)(m + t * oc + 8) = sum[t][1];
    }
}

/* A row of tiles, transformed: B^T d B, with `tiles_in_all` tiles at each of the sixteen places. */
INLINE void transform_row(const float *in, float *v, const int ic, const int tiles_in_all)
{
    const int row = (B + 2) * ic;
    for (int x = 0; x < C; x++)
        for (int c = 0; c < ic; c += 8) {
            v8 d[4][4];
            for (int j = 0; j < 4; j++) {
                const float *from = in + (2 * x + j) * ic + c;
                v8 a = load(from), b = load(from + row), e = load(from + 2 * row), f = load(from + 3 * row);
                d[0][j] = a - e;
                d[1][j] = b + e;
                d[2][j] = e - b;
                d[3][j] = b - f;
            }
            for (int i = 0; i < 4; i++) {
                const int next = tiles_in_all * ic;
                float *to = v + (4 * i * tiles_in_all + x) * ic + c;
                *(v8 *)to = d[i][0] - d[i][2];
                *(v8 *)(to + next) = d[i][1] + d[i][2];
                *(v8 *)(to + 2 * next) = d[i][2] - d[i][1];
                *(v8 *)(to + 3 * next) = d[i][1] - d[i][3];
            }
        }
}

INLINE void convolve_tiles(const float *in, const float *u, const float *bias, float *out, const int ic, const int oc)
{
    float v[16 * C * CB], m[16 * C * CB];
    for (int y = 0; y < C; y++) {
        transform_row(in + 2 * y * (B + 2) * ic, v, ic, C);
        for (int p = 0; p < 16; p++)
            for (int o = 0; o < oc; o += 16) {
                const float *from = v + p * C * ic, *weights = u + (size_t)p * ic * oc + o;
                tiles(from, weights, m + p * C * oc + o, ic, oc, 4);
                tiles(from + 4 * ic, weights, m + (p * C + 4) * oc + o, ic, oc, 3);
            }
        for (int x = 0; x < C; x++)
            for (int o = 0; o < oc; o += 8) {
                v8 s[2][4], b = bias ? load(bias + o) : all(0);
                for (int j = 0; j < 4; j++) {
                    const float *from = m + (j * C + x) * oc + o;
                    v8 a0 = load(from), a1 = load(from + 4 * C * oc), a2 = load(from + 8 * C * oc), a3 = load(from + 12 * C * oc);
                    s[0][j] = a0 + a1 + a2;
                    s[1][j] = a1 - a2 - a3;
                }
                for (int i = 0; i < 2; i++) {
                    float *to = out + ((2 * y + i) * B + 2 * x) * oc + o;
                    *(v8 *)to = s[i][0] + s[i][1] + s[i][2] + b;
                    *(v8 *)(to + oc) = s[i][1] - s[i][2] - s[i][3] + b;
                }
            }
    }
}

/* Add the products of `count` input channels and sixteen output channels over the tiles of an image. */
INLINE void products(const float *v, const float *m, float *g, const int count)
{
    v8 sum[6][2];
    for (int c = 0; c < count; c++) {
        sum[c][0] = load(g + c * CB);
        sum[c][1] = load(g + c * CB + 8);
    }
    for (int t = 0; t < C * C; t++) {
        v8 low = load(m + t * CB), high = load(m + t * CB + 8);
        for (int c = 0; c < count; c++) {
            v8 value = all(v[t * CA + c]);
            sum[c][0] += value * low;
            sum[c][1] += value * high;
        }
    }
    for (int c = 0; c < count; c++) {
        *(v8 *)(g + c * CB) = sum[c][0];
        *(v8 *)(g + c * CB + 8) = sum[c][1];
    }
}

/* Add an image's gradient of the transformed weights. */
static void gradient2(Work *work, int n)
{
    float *v = work->v, *m = work->m;
    for (int y = 0; y < C; y++) transform_row(&work->p1[n][2 * y][0][0], v + y * C * CA, CA, C * C);
    for (int t = 0; t < C * C; t++)
        for (int o = 0; o < CB; o += 8) { /* A dz A^T */
            v8 half[4][2];
            for (int j = 0; j < 2; j++) {
                v8 a = load(&work->dz2[2 * (t / C) + 1][2 * (t % C) + 1 + j][o]);
                v8 b = load(&work->dz2[2 * (t / C) + 2][2 * (t % C) + 1 + j][o]);
                half[0][j] = a;
                half[1][j] = a + b;
                half[2][j] = a - b;
                half[3][j] = -b;
            }
            for (int i = 0; i < 4; i++) {
                float *to = m + (4 * i * C * C + t) * CB + o;
                *(v8 *)to = half[i][0];
                *(v8 *)(to + C * C * CB) = half[i][0] + half[i][1];
                *(v8 *)(to + 2 * C * C * CB) = half[i][0] - half[i][1];
                *(v8 *)(to + 3 * C * C * CB) = -half[i][1];
            }
        }
    for (int p = 0; p < 16; p++)
        for (int o = 0; o < CB; o += 16) {
            const float *from = v + p * C * C * CA, *d = m + p * C * C * CB + o;
            products(from, d, &work->g.u2[p][0][o], 5);
            products(from + 5, d, &work->g.u2[p][5][o], 5);
            products(from + 10, d, &work->g.u2[p][10][o], 6);
        }
}

/* The gradient of the weights from that of the transformed ones: G^T du G. */
static void transform_back(const float *u, float *w)
{
    const int size = CA * CB;
    for (int at = 0; at < size; at += 8) {
        v8 half[3][4];
        for (int j = 0; j < 4; j++) {
            v8 a = load(u + j * size + at), b = load(u + (4 + j) * size + at), c = load(u + (8 + j) * size + at),
               d = load(u + (12 + j) * size + at);
            half[0][j] = a + (b + c) * 0.5f;
            half[1][j] = (b - c) * 0.5f;
            half[2][j] = (b + c) * 0.5f + d;
        }
        for (int i = 0; i < 3; i++) {
            v8 *h = half[i];
            float *to = w + 3 * i * size + at;
            *(v8 *)to = h[0] + (h[1] + h[2]) * 0.5f;
            *(v8 *)(to + size) = (h[1] - h[2]) * 0.5f;
            *(v8 *)(to + 2 * size) = (h[1] + h[2]) * 0.5f + h[3];
        }
    }
}

/* Add two rows' products of `count` of the nine pixels around and the sixteen channels. */
INLINE void products1(Work *work, int n, int y, const int first, const int count)
{
    v8 sum[5][2];
    for (int k = 0; k < count; k++) {
        sum[k][0] = load(&work->g.w1[first + k][0]);
        sum[k][1] = load(&work->g.w1[first + k][8]);
    }
    for (int r = 0; r < 2; r++)
        for (int x = 0; x < A; x++) {
            v8 low = load(&work->dz1[r][x][0]), high = load(&work->dz1[r][x][8]);
            for (int k = 0; k < count; k++) {
                v8 value = all(work->x[n][y + r + (first + k) / 3][x + (first + k) % 3]);
                sum[k][0] += value * low;
                sum[k][1] += value * high;
            }
        }
    for (int k = 0; k < count; k++) {
        *(v8 *)&work->g.w1[first + k][0] = sum[k][0];
        *(v8 *)&work->g.w1[first + k][8] = sum[k][1];
    }
}

/* --- normalisation, pooling, ReLU ------------------------------------------------------------------------ */

typedef struct {
    float mean[CB], inverse[CB], scale[CB], shift[CB];
} Norm;

/* Return whether all is finite. */
static int normalisation(const float *z, int rows, int channels, const float *gamma, const float *beta,
                          float *running, Norm *norm)
{
    double sum[CB] = {0}, squares[CB] = {0};
    for (int r = 0; r < rows; r += B * C) { /* 98 rows at a time in single precision */
        v8 s[CB / 8], q[CB / 8];
        for (int c = 0; c < channels / 8; c++) s[c] = q[c] = all(0);
        for (int i = r; i < r + B * C; i++)
            for (int c = 0; c < channels / 8; c++) {
                v8 value = load(z + (size_t)i * channels + 8 * c);
                s[c] += value;
                q[c] += value * value;
            }
        for (int c = 0; c < channels; c++) {
            sum[c] += s[c / 8][c % 8];
            squares[c] += q[c / 8][c % 8];
        }
    }
    for (int c = 0; c < channels; c++) {
        if (!isfinite(sum[c]) || !isfinite(squares[c])) return 0;
        double mean = sum[c] / rows, variance = fmax(squares[c] / rows - mean * mean, 0);
        norm->mean[c] = mean;
        norm->inverse[c] = 1 / sqrt(variance + 1e-5);
        norm->scale[c] = gamma[c] * norm->inverse[c];
        norm->shift[c] = beta[c] - norm->scale[c] * norm->mean[c];
        running[c] += 0.1f * ((float)mean - running[c]);
        running[channels + c] += 0.1f * ((float)(variance * rows / (rows - 1)) - running[channels + c]);
    }
    return 1;
}

/* Normalise, keep the largest of four and what is positive of it. */
INLINE void pool(const float *z, const Norm *norm, float *p, int row, float *top, int32_t *at, const int half,
                 const int channels)
{
    for (int y = 0; y < half; y++)
        for (int x = 0; x < half; x++)
            for (int c = 0; c < channels; c += 8) {
                const float *from = z + ((2 * y) * (2 * half) + 2 * x) * channels + c;
                v8 scale = load(norm->scale + c), shift = load(norm->shift + c), best, value, here;
                i8 which = {0};
                value = load(from);
                best = value * scale + shift;
                for (int k = 1; k < 4; k++) {
                    v8 other = load(from + ((k / 2) * 2 * half + k % 2) * channels);
                    here = other * scale + shift;
                    i8 more = here > best;
                    best = pick(more, here, best);
                    value = pick(more, other, value);
                    which = choose(more, every(k), which);
                }
                i8 open = best > all(0);
                int to = (y * half + x) * channels + c;
                *(v8 *)(p + y * row + x * channels + c) = pick(open, best, all(0));
                *(v8 *)(top + to) = value;
                *(i8 *)(at + to) = choose(open, which, every(-1));
            }
}

/* The gradient of what was pooled becomes that of gamma and beta; return the three numbers of each channel. */
static void close_norm(float *d, const float *top, const int32_t *at, int pooled, int rows, int channels,
                       const Norm *norm, float *ggamma, float *gbeta, float *constant, float *linear)
{
    double sum[CB] = {0}, products[CB] = {0};
    for (int r = 0; r < pooled; r += C) {
        v8 s[CB / 8], q[CB / 8];
        for (int c = 0; c < channels / 8; c++) s[c] = q[c] = all(0);
        for (int i = r; i < r + C; i++)
            for (int c = 0; c < channels / 8; c++) {
                size_t here = (size_t)i * channels + 8 * c;
                v8 value = pick(*(const i8 *)(at + here) >= 0, load(d + here), all(0));
                *(v8 *)(d + here) = value;
                s[c] += value;
                q[c] += value * (load(top + here) - load(norm->mean + 8 * c));
            }
        for (int c = 0; c < channels; c++) {
            sum[c] += s[c / 8][c % 8];
            products[c] += q[c / 8][c % 8];
        }
    }
    for (int c = 0; c < channels; c++) {
        double along = products[c] * norm->inverse[c];
        ggamma[c] = along;
        gbeta[c] = sum[c];
        linear[c] = -norm->scale[c] * along / rows * norm->inverse[c];
        constant[c] = -norm->scale[c] * sum[c] / rows - linear[c] * norm->mean[c];
    }
}

/* The gradient before normalisation of two rows: scale * d where the largest was, and a plane in z everywhere. */
INLINE void open_rows(const float *z, const float *d, const int32_t *at, const Norm *norm, const float *constant,
                      const float *linear, float *out, int out_row, const int half, const int channels)
{
    for (int x = 0; x < half; x++)
        for (int c = 0; c < channels; c += 8) {
            v8 here = load(d + x * channels + c) * load(norm->scale + c);
            i8 which = *(const i8 *)(at + x * channels + c);
            for (int k = 0; k < 4; k++) {
                int place = (2 * x + k % 2) * channels + c;
                v8 plane = load(z + (k / 2) * 2 * half * channels + place) * load(linear + c) + load(constant + c);
                i8 same = which == every(k);
                *(v8 *)(out + (k / 2) * out_row + place) = plane + pick(same, here, all(0));
            }
        }
}

/* --- the dense layers ------------------------------------------------------------------------------------ */

INLINE void dots(const Weights *w, Work *work, int n, int j, const int images)
{
    v8 sum[3][4];
    for (int i = 0; i < images; i++)
        for (int u = 0; u < 4; u++) sum[i][u] = all(0);
    for (int k = 0; k < FLAT; k += 8)
        for (int u = 0; u < 4; u++) {
            v8 weight = load(&w->w3[j + u][k]);
            for (int i = 0; i < images; i++) sum[i][u] += weight * load(&work->p2[n + i][0][0][0] + k);
        }
    for (int i = 0; i < images; i++)
        for (int u = 0; u < 4; u++) work->h[n + i][j + u] = fmaxf(total(sum[i][u]) + w->b3[j + u], 0);
}

/* Return the batch's mean cross-entropy, and leave the gradients of both dense layers' inputs. */
static double dense(const Weights *w, Work *work, const int64_t *labels, int batch)
{
    for (int j = 0; j < HIDDEN; j += 4) {
        int n = 0;
        for (; n + 3 <= batch; n += 3) dots(w, work, n, j, 3);
        for (; n < batch; n++) dots(w, work, n, j, 1);
    }
    double loss = 0;
    for (int n = 0; n < batch; n++) {
        float most = -INFINITY, logits[CLASSES];
        double sum = 0;
        for (int o = 0; o < CLASSES; o++) {
            v8 dot = all(0);
            for (int j = 0; j < HIDDEN; j += 8) dot += load(&w->w4[o][j]) * load(&work->h[n][j]);
            logits[o] = total(dot) + w->b4[o];
            most = fmaxf(most, logits[o]);
        }
        for (int o = 0; o < CLASSES; o++) sum += exp((double)logits[o] - most);
        loss += log(sum) + most - logits[labels[n]];
        for (int o = 0; o < CLASSES; o++)
            work->out[n][o] = (float)((exp((double)logits[o] - most) / sum - (o == labels[n])) / batch);
        for (int j = 0; j < HIDDEN; j++) {
            float sum_j = 0;
            for (int o = 0; o < CLASSES; o++) sum_j += work->out[n][o] * w->w4[o][j];
            work->dh[n][j] = work->h[n][j] > 0 ? sum_j : 0;
        }
        for (int k = 0; k < FLAT; k += 56) {
            v8 row[7];
            for (int i = 0; i < 7; i++) row[i] = all(0);
            for (int j = 0; j < HIDDEN; j++)
                for (int i = 0; i < 7; i++) row[i] += all(work->dh[n][j]) * load(&w->w3[j][k + 8 * i]);
            for (int i = 0; i < 7; i++) *(v8 *)(&work->d2[n][0][0][0] + k + 8 * i) = row[i];
        }
    }
    return loss / batch;
}

/* --- a step ---------------------------------------------------------------------------------------------- */

INLINE void descend(float *w, const float *g, int count, float lr)
{
    for (int i = 0; i < count; i++) w[i] -= lr * g[i];
}

static void descend_dense(Weights *w, const Work *work, int batch, float lr)
{
    for (int j = 0; j < HIDDEN; j += 4)
        for (int k = 0; k < FLAT; k += 16) {
            v8 sum[4][2];
            for (int u = 0; u < 4; u++) sum[u][0] = sum[u][1] = all(0);
            for (int n = 0; n < batch; n++) {
                const float *x = &work->p2[n][0][0][0] + k;
                v8 low = load(x), high = load(x + 8);
                for (int u = 0; u < 4; u++) {
                    v8 d = all(work->dh[n][j + u]);
                    sum[u][0] += d * low;
                    sum[u][1] += d * high;
                }
            }
            for (int u = 0; u < 4; u++) {
                *(v8 *)&w->w3[j + u][k] -= lr * sum[u][0];
                *(v8 *)&w->w3[j + u][k + 8] -= lr * sum[u][1];
            }
        }
    for (int n = 0; n < batch; n++) {
        for (int j = 0; j < HIDDEN; j++) w->b3[j] -= lr * work->dh[n][j];
        for (int o = 0; o < CLASSES; o++) {
            w->b4[o] -= lr * work->out[n][o];
            for (int j = 0; j < HIDDEN; j++) w->w4[o][j] -= lr * work->out[n][o] * work->h[n][j];
        }
    }
}

static double step(Weights *w, Work *work, float *running1, float *running2, const int64_t *labels, int batch, float lr)
{
    Norm first, second;
    float constant[CB], linear[CB];
    transform(&w->w2[0][0][0], &w->u2[0][0][0], CA, CB);
    for (int n = 0; n < batch; n++) convolve(&work->x[n][0][0], &w->w1[0][0], w->b1, &work->z1[n][0][0][0]);
    if (!normalisation(&work->z1[0][0][0][0], batch * A * A, CA, w->gamma1, w->beta1, running1, &first)) return NAN;
    for (int n = 0; n < batch; n++) {
        pool(&work->z1[n][0][0][0], &first, &work->p1[n][1][1][0], (B + 2) * CA, &work->top1[n][0][0][0],
             &work->at1[n][0][0][0], B, CA);
        convolve_tiles(&work->p1[n][0][0][0], &w->u2[0][0][0], w->b2, &work->z2[n][0][0][0], CA, CB);
    }
    if (!normalisation(&work->z2[0][0][0][0], batch * B * B, CB, w->gamma2, w->beta2, running2, &second)) return NAN;
    for (int n = 0; n < batch; n++)
        pool(&work->z2[n][0][0][0], &second, &work->p2[n][0][0][0], C * CB, &work->top2[n][0][0][0],
             &work->at2[n][0][0][0], C, CB);

    double loss = dense(w, work, labels, batch);
    if (!isfinite(loss)) return loss;
    descend_dense(w, work, batch, lr);

    memset(work->g.w1, 0, sizeof work->g.w1);
    memset(work->g.u2, 0, sizeof work->g.u2);
    for (int k = 0; k < 9; k++)
        for (int i = 0; i < CA; i++)
            for (int o = 0; o < CB; o++) w->back2[8 - k][o][i] = w->w2[k][i][o];
    transform(&w->back2[0][0][0], &w->v2[0][0][0], CB, CA);
    close_norm(&work->d2[0][0][0][0], &work->top2[0][0][0][0], &work->at2[0][0][0][0], batch * C * C, batch * B * B,
               CB, &second, work->g.gamma2, work->g.beta2, constant, linear);
    for (int n = 0; n < batch; n++) {
        for (int y = 0; y < C; y++)
            open_rows(&work->z2[n][2 * y][0][0], &work->d2[n][y][0][0], &work->at2[n][y][0][0], &second, constant,
                      linear, &work->dz2[2 * y + 1][1][0], (B + 2) * CB, C, CB);
        gradient2(work, n);
        convolve_tiles(&work->dz2[0][0][0], &w->v2[0][0][0], NULL, &work->d1[n][0][0][0], CB, CA);
    }
    close_norm(&work->d1[0][0][0][0], &work->top1[0][0][0][0], &work->at1[0][0][0][0], batch * B * B, batch * A * A,
               CA, &first, work->g.gamma1, work->g.beta1, constant, linear);
    for (int n = 0; n < batch; n++)
        for (int y = 0; y < B; y++) {
            open_rows(&work->z1[n][2 * y][0][0], &work->d1[n][y][0][0], &work->at1[n][y][0][0], &first, constant,
                      linear, &work->dz1[0][0][0], A * CA, B, CA);
            products1(work, n, 2 * y, 0, 5);
            products1(work, n, 2 * y, 5, 4);
        }
    transform_back(&work->g.u2[0][0][0], &work->g.w2[0][0][0]);
    descend(&w->w1[0][0], &work->g.w1[0][0], 9 * CA, lr);
    descend(&w->w2[0][0][0], &work->g.w2[0][0][0], 9 * CA * CB, lr);
    descend(w->gamma1, work->g.gamma1, CA, lr);
    descend(w->beta1, work->g.beta1, CA, lr);
    descend(w->gamma2, work->g.gamma2, CB, lr);
    descend(w->beta2, work->g.beta2, CB, lr);
    return loss;
}

/* --- what Python calls ----------------------------------------------------------------------------------- */

/* PyTorch's arrays, in the order of the network's state: weight, bias, gamma, beta, running mean, variance. */
static void exchange(Weights *w, float *const *at, int out)
{
#define MOVE(ours, theirs) do { if (out) (theirs) = (ours); else (ours) = (theirs); } while (0)
    for (int k = 0; k < 9; k++)
        for (int o = 0; o < CA; o++) MOVE(w->w1[k][o], at[0][o * 9 + k]);
    for (int o = 0; o < CA; o++) {
        MOVE(w->b1[o], at[1][o]);
        MOVE(w->gamma1[o], at[2][o]);
        MOVE(w->beta1[o], at[3][o]);
    }
    for (int k = 0; k < 9; k++)
        for (int i = 0; i < CA; i++)
            for (int o = 0; o < CB; o++) MOVE(w->w2[k][i][o], at[5][(o * CA + i) * 9 + k]);
    for (int o = 0; o < CB; o++) {
        MOVE(w->b2[o], at[6][o]);
        MOVE(w->gamma2[o], at[7][o]);
        MOVE(w->beta2[o], at[8][o]);
    }
    for (int j = 0; j < HIDDEN; j++) {
        for (int p = 0; p < C * C; p++)
            for (int c = 0; c < CB; c++) MOVE(w->w3[j][p * CB + c], at[10][j * FLAT + c * C * C + p]);
        MOVE(w->b3[j], at[11][j]);
    }
    for (int o = 0; o < CLASSES; o++) {
        for (int j = 0; j < HIDDEN; j++) MOVE(w->w4[o][j], at[12][o * HIDDEN + j]);
        MOVE(w->b4[o], at[13][o]);
    }
#undef MOVE
}

/* Train `steps` batches of the images `rows` (steps x batch); return the mean loss. A loss that is not finite is
 * returned at once. NaN: there is no memory, or a batch is larger than 256, or what a layer gives is not finite. */
double train(float *const *arrays, const float *pixels, const int64_t *labels, const int64_t *rows, int64_t steps,
             int64_t batch, float lr)
{
    static Work *work;
    if (batch > MOST) return NAN;
    if (!work) {
        size_t huge = 1 << 21, bytes = (sizeof(Work) + huge - 1) / huge * huge;
        work = aligned_alloc(huge, bytes);
        if (work) madvise(work, bytes, MADV_HUGEPAGE);
    }
    Weights *w = aligned_alloc(64, (sizeof(Weights) + 63) / 64 * 64);
    if (!work || !w) return NAN;
    memset(work->x, 0, sizeof(work->x[0]) * batch);
    memset(work->p1, 0, sizeof(work->p1[0]) * batch);
    memset(work->dz2, 0, sizeof work->dz2);
    exchange(w, arrays, 0);
    float running1[2 * CA], running2[2 * CB];
    memcpy(running1, arrays[4], sizeof running1);
    memcpy(running2, arrays[9], sizeof running2);
    int64_t chosen[MOST];
    double sum = 0;
    for (int64_t s = 0; s < steps && isfinite(sum); s++) {
        for (int64_t n = 0; n < batch; n++) {
            const float *image = pixels + rows[s * batch + n] * A * A;
            chosen[n] = labels[rows[s * batch + n]];
            for (int y = 0; y < A; y++) memcpy(&work->x[n][y + 1][1], image + y * A, A * sizeof(float));
        }
        sum += step(w, work, running1, running2, chosen, (int)batch, lr);
    }
    exchange(w, arrays, 1);
    memcpy(arrays[4], running1, sizeof running1);
    memcpy(arrays[9], running2, sizeof running2);
    free(w);
    return sum / steps;
}
