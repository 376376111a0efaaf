// The operator of ssa/chunked.py for float32 on a CPU, one head after another, in tiles that stay in the first cache.
//
// Equations, names and their legend: ssa/chunked.py. u_ij is summed from differences, so nothing cancels in it, a token
// is exactly alike itself, and while all numbers are finite no result depends on tokens that its query must not see. Our
// choice.
//
// Nothing of PyTorch's is included, so that it builds in two seconds. Comparisons are written so that NaN takes the
// branch that keeps it. Maps of a row are functions that are not inlined: only so does GCC 12 vectorize them.

#include "vectors.h"

namespace {

constexpr int TILE = 64;  // queries and keys of a tile

// The sum of x[0:TILE], always in the same order.
inline float sum(const float *x) {
    float lane[LANES] = {};
    for (int j = 0; j < TILE; j += LANES)
        for (int l = 0; l < LANES; ++l) lane[l] += x[j + l];
    float total = 0;
    for (float each : lane) total += each;
    return total;
}

// out[r][0:TILE] = sum_e (a[r][e] - b[e][0:TILE])^2, or sum_e a[r][e] b[e][0:TILE], for ROWS rows r of a.
template <bool SQUARED>
inline void pairwise(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t n, float *out) {
    for (int j = 0; j < TILE; j += 2 * LANES) {
        Vector sums[ROWS][2] = {};
        for (int64_t e = 0; e < n; ++e) {
            const Vector first = at(b + e * ldb + j), second = at(b + e * ldb + j + LANES);
            for (int r = 0; r < ROWS; ++r) {
                const float x = a[r * lda + e];
                if (SQUARED) {
                    const Vector d0 = first - x, d1 = second - x;
                    sums[r][0] += d0 * d0;
                    sums[r][1] += d1 * d1;
                } else {
                    sums[r][0] += first * x;
                    sums[r][1] += second * x;
                }
            }
        }
        for (int r = 0; r < ROWS; ++r) {
            at(out + r * TILE + j) = sums[r][0];
            at(out + r * TILE + j + LANES) = sums[r][1];
        }
    }
}

// c[r][0:NV LANES] += sum_t a(r, t) b[t][0:NV LANES] for ROWS rows r and n terms t.
template <int NV>
inline void accumulate_some(const float *a, int64_t row, int64_t term, const float *b, int64_t ldb, int64_t n, float *c,
                            int64_t ldc) {
    Vector sums[ROWS][NV];
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < NV; ++v) sums[r][v] = at(c + r * ldc + v * LANES);
    for (int64_t t = 0; t < n; ++t)
        for (int v = 0; v < NV; ++v) {
            const Vector x = at(b + t * ldb + v * LANES);
            for (int r = 0; r < ROWS; ++r) sums[r][v] += x * a[r * row + t * term];
        }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < NV; ++v) at(c + r * ldc + v * LANES) = sums[r][v];
}

// The same for a width that is a multiple of LANES, and TILE rows.
inline void accumulate(const float *a, int64_t row, int64_t term, const float *b, int64_t ldb, int64_t n, float *c,
                       int64_t ldc, int64_t width) {
    for (int64_t w = 0; w < width;) {
        const int64_t left = (width - w) / LANES;
        for (int r = 0; r < TILE; r += ROWS) {
            const float *rows = a + r * row;
            if (left == 1) accumulate_some<1>(rows, row, term, b + w, ldb, n, c + r * ldc + w, ldc);
            else if (left == 2 || left == 4) accumulate_some<2>(rows, row, term, b + w, ldb, n, c + r * ldc + w, ldc);
            else accumulate_some<3>(rows, row, term, b + w, ldb, n, c + r * ldc + w, ldc);
        }
        w += LANES * (left == 1 ? 1 : left == 2 || left == 4 ? 2 : 3);
    }
}

// Rows of x (n, width), less `middle` where there is one, into out (to, padded width); zeros behind.
void pad(const float *x, int64_t stride, int64_t n, int64_t width, const float *middle, float *out, int64_t to) {
    const int64_t ld = padded(width, LANES);
    std::fill_n(out, to * ld, 0.0f);
    for (int64_t i = 0; i < n; ++i)
        for (int64_t w = 0; w < width; ++w) out[i * ld + w] = x[i * stride + w] - (middle ? middle[w] : 0.0f);
}

// The transpose (width, padded n) of the rows of x (n, width), less `middle` where there is one; zeros behind.
void transpose(const float *x, int64_t stride, int64_t n, int64_t width, const float *middle, float *out) {
    const int64_t ld = padded(n, TILE);
    std::fill_n(out, width * ld, 0.0f);
    for (int64_t i = 0; i < n; ++i)
        for (int64_t w = 0; w < width; ++w) out[w * ld + i] = x[i * stride + w] - (middle ? middle[w] : 0.0f);
}

// As in ssa/native.py. Vectors over queries (B, H, N) and heads (B, H) are dense, as is `mask` (B, M), or null for none.
struct Operands {
    int64_t batch, heads, queries, keys, frequencies, values, causal, same, threads;
    View q, k, v, out, grad, grad_q, grad_k, grad_v;
    const uint8_t *mask;
    const float *inverse_rho, *cos_theta, *middle;
    float *Z, *grad_rho, *grad_cos, *scratch;
    float floor, cap;
};

// How many keys of the tile from `start` on query i may see.
inline int64_t seen(const Operands &s, int64_t i, int64_t start) {
    const int64_t end = s.causal ? i + 1 : s.keys;
    return std::max<int64_t>(0, std::min<int64_t>(TILE, end - start));
}

// Zeros from n to TILE.
inline void clear(float *x, int64_t n) { std::fill(x + n, x + TILE, 0.0f); }

// S of a query at mismatches u[0:TILE], in place; `real` is 0 for a key that must not lock.
__attribute__((noinline)) void strengths(float *__restrict__ u, const float *__restrict__ real, float inverse_rho,
                                          float cos_theta) {
    for (int j = 0; j < TILE; ++j) {
        const float J = exp_minus(u[j]), y = J * J - u[j] * inverse_rho;
        const float S = std::sqrt(y < 0.0f ? 0.0f : y) - cos_theta * J;
        u[j] = S < 0.0f || real[j] == 0.0f ? 0.0f : S;
    }
}

struct Query {
    float inverse_rho, cos_theta, delta, inverse_Z, cap;
};

// Of a query, in place: u becomes du and dP, which is dout.v, S / Z; also u dy and dS e^{-u}.
__attribute__((noinline)) void slopes(float *__restrict__ u, float *__restrict__ dP, float *__restrict__ u_dy,
                                       float *__restrict__ tilt, const float *__restrict__ real, const Query &q) {
    const float inverse_rho = q.inverse_rho, cos_theta = q.cos_theta, delta = q.delta, inverse_Z = q.inverse_Z;
    const float cap = q.cap;
    for (int j = 0; j < TILE; ++j) {
        const float J = exp_minus(u[j]), y = J * J - u[j] * inverse_rho;
        const float J_cos = std::sqrt(y < 0.0f ? 0.0f : y), s = J_cos - cos_theta * J;
        const float S = s < 0.0f || real[j] == 0.0f ? 0.0f : s;
        const float of_S = (dP[j] - delta) * inverse_Z, dS = S > 0.0f ? of_S : 0.0f;
        const float slope = 0.5f / (J_cos < 1e-15f ? 1e-15f : J_cos);
        const float dy = dS * (slope < cap ? slope : cap);
        tilt[j] = dS * J;
        u_dy[j] = u[j] * dy;
        u[j] = cos_theta * (dS * J) - dy * (2.0f * J * J + inverse_rho);
        dP[j] = S * inverse_Z;
    }
}

}  // namespace

extern "C" {

// Floats of scratch that a thread takes.
int64_t attend_scratch(const Operands *operands) {
    const Operands &s = *operands;
    const int64_t M = padded(s.keys, TILE), E = padded(s.frequencies, LANES), W = padded(s.values, LANES);
    return M * (s.frequencies + W + 1) + TILE * (E + W + TILE + 1) + 16 * 8;
}

int64_t gradients_scratch(const Operands *operands) {
    const Operands &s = *operands;
    const int64_t M = padded(s.keys, TILE), E = padded(s.frequencies, LANES), W = padded(s.values, LANES);
    return M * (s.frequencies + s.values + 2 * E + W + 2) + TILE * (2 * E + W + 2 * TILE + 2) + 16 * 16;
}

// out and Z of ssa/chunked.py's `attend`.
void attend(const Operands *operands) {
    const Operands s = *operands;
    const int64_t N = s.queries, M = s.keys, E = s.frequencies, W = s.values, each = attend_scratch(operands);
    const int64_t ldk = padded(M, TILE), lde = padded(E, LANES), ldw = padded(W, LANES);
#pragma omp parallel num_threads(s.threads) if (s.threads > 1)
    {
        Scratch scratch{s.scratch + omp_get_thread_num() * each};
        float *kT = scratch.take(E * ldk), *values = scratch.take(ldk * ldw), *real = scratch.take(ldk);
        float *rows = scratch.take(TILE * lde), *mixed = scratch.take(TILE * ldw);
        float *S = scratch.take(TILE * TILE), *total = scratch.take(TILE);
#pragma omp for schedule(static)
        for (int64_t g = 0; g < s.batch * s.heads; ++g) {
            const int64_t b = g / s.heads, h = g % s.heads;
            transpose(s.k.head(b, h), s.k.of_token, M, E, nullptr, kT);
            pad(s.v.head(b, h), s.v.of_token, M, W, nullptr, values, ldk);
            for (int64_t j = 0; j < ldk; ++j) real[j] = j < M && (!s.mask || s.mask[b * M + j]);
            for (int64_t from = 0; from < N; from += TILE) {
                const int64_t n = std::min<int64_t>(TILE, N - from), end = s.causal ? from + n : M;
                pad(s.q.head(b, h) + from * s.q.of_token, s.q.of_token, n, E, nullptr, rows, TILE);
                std::fill_n(mixed, TILE * ldw, 0.0f);
                std::fill_n(total, TILE, s.floor);
                for (int64_t key = 0; key < end; key += TILE) {
                    for (int r = 0; r < TILE; r += ROWS) {
                        pairwise<true>(rows + r * lde, lde, kT + key, ldk, E, S + r * TILE);
                        for (int i = r; i < r + ROWS; ++i) {
                            const int64_t m = i < n ? seen(s, from + i, key) : 0;
                            if (m > 0) strengths(S + i * TILE, real + key, s.inverse_rho[g * N + from + i], s.cos_theta[g]);
                            clear(S + i * TILE, m);
                            total[i] += sum(S + i * TILE);
                        }
                    }
                    accumulate(S, TILE, 1, values + key * ldw, ldw, TILE, mixed, ldw, ldw);
                }
                for (int64_t i = 0; i < n; ++i) {
                    const float z = total[i], scale = z > 0.0f || z != z ? 1.0f / z : 1.0f;
                    float *out = s.out.head(b, h) + (from + i) * s.out.of_token;
                    s.Z[g * N + from + i] = z;
                    for (int64_t w = 0; w < W; ++w) out[w] = mixed[i * ldw + w] * scale;
                }
            }
        }
    }
}

// The gradients of q, k, v (that of k within that of q where they are the same), inverse_rho and cos_theta. `middle`
// (B, H, E): a point amid the keys. They are less it, because sums of du meet products with du, and large numbers round.
void gradients(const Operands *operands) {
    const Operands s = *operands;
    const int64_t N = s.queries, M = s.keys, E = s.frequencies, W = s.values, each = gradients_scratch(operands);
    const int64_t ldk = padded(M, TILE), lde = padded(E, LANES), ldw = padded(W, LANES);
#pragma omp parallel num_threads(s.threads) if (s.threads > 1)
    {
        Scratch scratch{s.scratch + omp_get_thread_num() * each};
        float *kT = scratch.take(E * ldk), *vT = scratch.take(W * ldk), *centred_k = scratch.take(ldk * lde);
        float *of_k = scratch.take(ldk * lde), *of_v = scratch.take(ldk * ldw);
        float *real = scratch.take(ldk), *column_sum = scratch.take(ldk);
        float *rows = scratch.take(TILE * lde), *of_q = scratch.take(TILE * lde), *grad = scratch.take(TILE * ldw);
        float *du = scratch.take(TILE * TILE), *weight = scratch.take(TILE * TILE);
        float *u_dy = scratch.take(TILE), *tilt = scratch.take(TILE);
#pragma omp for schedule(static)
        for (int64_t g = 0; g < s.batch * s.heads; ++g) {
            const int64_t b = g / s.heads, h = g % s.heads;
            const float *middle = s.middle + g * E;
            transpose(s.k.head(b, h), s.k.of_token, M, E, middle, kT);
            transpose(s.v.head(b, h), s.v.of_token, M, W, nullptr, vT);
            pad(s.k.head(b, h), s.k.of_token, M, E, middle, centred_k, ldk);
            for (int64_t j = 0; j < ldk; ++j) real[j] = j < M && (!s.mask || s.mask[b * M + j]);
            std::fill_n(of_k, ldk * lde, 0.0f);
            std::fill_n(of_v, ldk * ldw, 0.0f);
            std::fill_n(column_sum, ldk, 0.0f);
            double of_cos = 0;
            for (int64_t from = 0; from < N; from += TILE) {
                const int64_t n = std::min<int64_t>(TILE, N - from), end = s.causal ? from + n : M;
                pad(s.q.head(b, h) + from * s.q.of_token, s.q.of_token, n, E, middle, rows, TILE);
                pad(s.grad.head(b, h) + from * s.grad.of_token, s.grad.of_token, n, W, nullptr, grad, TILE);
                std::fill_n(of_q, TILE * lde, 0.0f);
                float row_sum[TILE] = {}, of_rho[TILE] = {};
                Query query[TILE];
                for (int64_t i = 0; i < n; ++i) {
                    const float *out = s.out.head(b, h) + (from + i) * s.out.of_token;
                    const float z = s.Z[g * N + from + i];
                    float delta = 0;
                    for (int64_t w = 0; w < W; ++w) delta += grad[i * ldw + w] * out[w];
                    query[i] = {s.inverse_rho[g * N + from + i], s.cos_theta[g], delta,
                                z > 0.0f || z != z ? 1.0f / z : 0.0f, s.cap};
                }
                for (int64_t key = 0; key < end; key += TILE) {
                    for (int r = 0; r < TILE; r += ROWS) {
                        pairwise<true>(rows + r * lde, lde, kT + key, ldk, E, du + r * TILE);
                        pairwise<false>(grad + r * ldw, ldw, vT + key, ldk, W, weight + r * TILE);
                        for (int i = r; i < r + ROWS; ++i) {
                            float *u = du + i * TILE, *P = weight + i * TILE;
                            const int64_t m = i < n ? seen(s, from + i, key) : 0, self = from + i - key;
                            if (m > 0) slopes(u, P, u_dy, tilt, real + key, query[i]);
                            for (float *x : {u, P, u_dy, tilt}) clear(x, m);
                            if (s.same && self >= 0 && self < TILE) u[self] = 0.0f;
                            of_rho[i] -= sum(u_dy);
                            of_cos -= sum(tilt);
                            row_sum[i] += sum(u);
                            for (int j = 0; j < TILE; ++j) column_sum[key + j] += u[j];
                        }
                    }
                    accumulate(du, TILE, 1, centred_k + key * lde, lde, TILE, of_q, lde, lde);
                    accumulate(du, 1, TILE, rows, lde, TILE, of_k + key * lde, lde, lde);
                    accumulate(weight, 1, TILE, grad, ldw, TILE, of_v + key * ldw, ldw, ldw);
                }
                for (int64_t i = 0; i < n; ++i) {
                    float *out = s.grad_q.head(b, h) + (from + i) * s.grad_q.of_token;
                    s.grad_rho[g * N + from + i] = of_rho[i];
                    for (int64_t e = 0; e < E; ++e) out[e] = 2.0f * (row_sum[i] * rows[i * lde + e] - of_q[i * lde + e]);
                }
            }
            for (int64_t j = 0; j < M; ++j) {
                float *out = s.grad_k.head(b, h) + j * s.grad_k.of_token;  // where q is k, that of q is there already
                for (int64_t e = 0; e < E; ++e) {
                    const float more = 2.0f * (column_sum[j] * centred_k[j * lde + e] - of_k[j * lde + e]);
                    out[e] = s.same ? out[e] + more : more;
                }
                std::copy_n(of_v + j * ldw, W, s.grad_v.head(b, h) + j * s.grad_v.of_token);
            }
            s.grad_cos[g] = static_cast<float>(of_cos);
        }
    }
}

}  // extern "C"
