// The order parameter of ssa/order.py for float32 on a CPU, one head after another, in one pass over its tokens each way.
//
// Equations and their legend: ssa/order.py. phi (B, H, N, D) and its gradient have strides, and D is dense.

#include "vectors.h"

namespace {

struct Phases {
    int64_t batch, heads, tokens, width, causal, threads;
    View phi, grad_phi;
    const float *real, *grad;
    float *r, *scratch;
    float tiny;
};

// The sum of x[0:n], n a multiple of LANES, always in the same order.
inline float sum(const float *x, int64_t n) {
    float lane[LANES] = {}, total = 0;
    for (int64_t j = 0; j < n; j += LANES)
        for (int l = 0; l < LANES; ++l) lane[l] += x[j + l];
    for (float each : lane) total += each;
    return total;
}

// Mean over dimensions of |z| / n.
float mean_length(const float *__restrict__ re, const float *__restrict__ im, float *__restrict__ length, int64_t width,
                  int64_t to, float n, float tiny) {
    for (int64_t w = 0; w < width; ++w) {
        const float squared = re[w] * re[w] + im[w] * im[w];
        length[w] = std::sqrt(squared < tiny ? tiny : squared);
    }
    return sum(length, to) / (n * width);
}

}  // namespace

extern "C" {

int64_t order_scratch(const Phases *phases) { return 5 * padded(phases->width, 16); }

int64_t order_gradient_scratch(const Phases *phases) {
    return 4 * padded(phases->tokens * phases->width, 16) + 2 * padded(phases->width, 16) + padded(phases->tokens, 16);
}

// r (B, H, N), of prefixes, or (B, H, 1); real (B, N): 1 for a token that counts, 0 for another.
void order(const Phases *phases) {
    const Phases s = *phases;
    const int64_t N = s.tokens, D = s.width, to = padded(D, LANES);
#pragma omp parallel num_threads(s.threads) if (s.threads > 1)
    {
        Scratch scratch{s.scratch + omp_get_thread_num() * order_scratch(phases)};
        float *re = scratch.take(D), *im = scratch.take(D), *length = scratch.take(to);
        float *cosine = scratch.take(D), *sine = scratch.take(D);
        std::fill_n(length, to, 0.0f);
#pragma omp for schedule(static)
        for (int64_t g = 0; g < s.batch * s.heads; ++g) {
            const int64_t b = g / s.heads, h = g % s.heads;
            std::fill_n(re, D, 0.0f);
            std::fill_n(im, D, 0.0f);
            float n = 0;
            for (int64_t i = 0; i < N; ++i) {
                const float weight = s.real[b * N + i];
                cos_sin_of(s.phi.head(b, h) + i * s.phi.of_token, D, cosine, sine);
                for (int64_t w = 0; w < D; ++w) re[w] += weight * cosine[w], im[w] += weight * sine[w];
                n += weight;
                if (s.causal || i == N - 1)
                    s.r[s.causal ? g * N + i : g] = mean_length(re, im, length, D, to, n < 1.0f ? 1.0f : n, s.tiny);
            }
        }
    }
}

// The gradient of phi, from that of r.
void order_gradient(const Phases *phases) {
    const Phases s = *phases;
    const int64_t N = s.tokens, D = s.width;
#pragma omp parallel num_threads(s.threads) if (s.threads > 1)
    {
        Scratch scratch{s.scratch + omp_get_thread_num() * order_gradient_scratch(phases)};
        float *cosine = scratch.take(N * D), *sine = scratch.take(N * D);
        float *z_re = scratch.take(N * D), *z_im = scratch.take(N * D);
        float *re = scratch.take(D), *im = scratch.take(D), *count = scratch.take(N);
#pragma omp for schedule(static)
        for (int64_t g = 0; g < s.batch * s.heads; ++g) {
            const int64_t b = g / s.heads, h = g % s.heads;
            std::fill_n(re, D, 0.0f);
            std::fill_n(im, D, 0.0f);
            float n = 0;
            for (int64_t i = 0; i < N; ++i) {
                const float weight = s.real[b * N + i];
                float *cos_i = cosine + i * D, *sin_i = sine + i * D;
                cos_sin_of(s.phi.head(b, h) + i * s.phi.of_token, D, cos_i, sin_i);
                for (int64_t w = 0; w < D; ++w) {
                    z_re[i * D + w] = re[w] += weight * cos_i[w];
                    z_im[i * D + w] = im[w] += weight * sin_i[w];
                }
                count[i] = n += weight;
            }
            std::fill_n(re, D, 0.0f);  // what token i gives goes to all later prefixes
            std::fill_n(im, D, 0.0f);
            for (int64_t i = N - 1; i >= 0; --i) {
                const float weight = s.real[b * N + i];
                if (s.causal || i == N - 1) {
                    const float pull = s.grad[s.causal ? g * N + i : g] / ((count[i] < 1.0f ? 1.0f : count[i]) * D);
                    for (int64_t w = 0; w < D; ++w) {
                        const float x = z_re[i * D + w], y = z_im[i * D + w], squared = x * x + y * y;
                        const float scale = squared > s.tiny ? pull / std::sqrt(squared) : 0.0f;
                        re[w] += scale * x;
                        im[w] += scale * y;
                    }
                }
                float *out = s.grad_phi.head(b, h) + i * s.grad_phi.of_token;
                for (int64_t w = 0; w < D; ++w) out[w] = weight * (cosine[i * D + w] * im[w] - sine[i * D + w] * re[w]);
            }
        }
    }
}

}  // extern "C"
