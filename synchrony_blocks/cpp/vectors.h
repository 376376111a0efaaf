// What both files of this folder share: vectors, e^-u, sine and cosine.

#pragma once

#if defined(_OPENMP)
#include <omp.h>
#else
inline int omp_get_thread_num() { return 0; }
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 8;  // floats of a vector, rows that are kept in registers
#elif defined(__AVX2__)
constexpr int LANES = 8, ROWS = 4;
#else
constexpr int LANES = 4, ROWS = 4;
#endif

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

// Floats of a thread, handed out piece by piece; the caller allocates them, so that PyTorch's accounts have them.
struct Scratch {
    float *place;
    float *take(int64_t n) {
        float *taken = place;
        place += (n + 15) / 16 * 16;
        return taken;
    }
};

// A tensor (B, H, tokens, width) whose last dimension is dense; strides in floats.
struct View {
    float *data;
    int64_t of_batch, of_head, of_token;
    float *head(int64_t b, int64_t h) const { return data + b * of_batch + h * of_head; }
};

inline Vector &at(float *x) { return *reinterpret_cast<Vector *>(x); }
inline const Vector &at(const float *x) { return *reinterpret_cast<const Vector *>(x); }
inline int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// e^-u for u >= 0, to 2 units in the last place; 0 from u = 87 on. Cody and Waite's reduction and a Taylor polynomial.
inline float exp_minus(float u) {
    float x = u < 87.0f ? u : 87.0f;  // also for NaN, which no integer can be
    float n = std::floor(x * 1.44269504f + 0.5f);
    float r = (n * 0.693359375f - x) - n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits = (127 - static_cast<int32_t>(n)) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return u < 87.0f ? p * power : u != u ? u : 0.0f;
}

// cos x and sin x within 1e-7 for |x| < 8192, beyond which the caller must not ask. Cody and Waite's reduction by pi/2 in three parts, and the minimax polynomials of Cephes.
inline void cos_sin(float x, float &cosine, float &sine) {
    const float n = std::floor(x * 0.636619772f + 0.5f);
    const float r = ((x - n * 1.5703125f) - n * 4.837512969970703125e-4f) - n * 7.54978995489188216e-8f;
    const float r2 = r * r;
    const float s = r + r * r2 * (-1.6666654611e-1f + r2 * (8.3321608736e-3f - r2 * 1.9515295891e-4f));
    const float c = 1.0f - 0.5f * r2 + r2 * r2 * (4.166664568298827e-2f + r2 * (-1.388731625493765e-3f + r2 * 2.443315711809948e-5f));
    const int32_t quarter = static_cast<int32_t>(n);
    const bool odd = quarter & 1;
    const float a = odd ? s : c, b = odd ? c : s;
    cosine = (quarter + 1) & 2 ? -a : a;
    sine = quarter & 2 ? -b : b;
}

// cos and sin of x[0:n].
inline void cos_sin_of(const float *__restrict__ x, int64_t n, float *__restrict__ cosine, float *__restrict__ sine) {
    int32_t large = 0;
    for (int64_t w = 0; w < n; ++w) large |= std::fabs(x[w]) < 8192.0f ? 0 : 1;
    if (!large)
        for (int64_t w = 0; w < n; ++w) cos_sin(x[w], cosine[w], sine[w]);
    else
        for (int64_t w = 0; w < n; ++w) cosine[w] = std::cos(x[w]), sine[w] = std::sin(x[w]);
}

}  // namespace
