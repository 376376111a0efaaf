// What is computed number by number, in one pass: SwiGLU's product (synchrony_blocks/swiglu.py), cosine and sine with
// their gradient (synchrony_blocks/cosine_sine.py).

#include "vectors.h"

namespace {

// 1 / (1 + e^-x).
inline float sigmoid(float x) {
    const float e = exp_minus(x < 0.0f ? -x : x), below = 1.0f / (1.0f + e);
    return x < 0.0f ? e * below : below;
}

void product(const float *__restrict__ gate, const float *__restrict__ up, int64_t width, float *__restrict__ out) {
    for (int64_t w = 0; w < width; ++w) out[w] = gate[w] * sigmoid(gate[w]) * up[w];
}

void product_gradient(const float *__restrict__ gate, const float *__restrict__ up, const float *__restrict__ grad,
                      int64_t width, float *__restrict__ of_gate, float *__restrict__ of_up) {
    for (int64_t w = 0; w < width; ++w) {
        const float s = sigmoid(gate[w]), silu = gate[w] * s;
        of_gate[w] = grad[w] * up[w] * (s + silu * (1.0f - s));
        of_up[w] = grad[w] * silu;
    }
}

constexpr int64_t BLOCK = 4096;  // numbers that a thread takes at a time

}  // namespace

extern "C" {

// silu(gate) up (rows, width) from gate and up, side by side in rows of 2 width.
void swiglu(const float *gate_up, int64_t rows, int64_t width, int64_t threads, float *out) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < rows; ++i) product(gate_up + 2 * i * width, gate_up + (2 * i + 1) * width, width, out + i * width);
}

void swiglu_gradient(const float *gate_up, const float *grad, int64_t rows, int64_t width, int64_t threads,
                     float *grad_gate_up) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < rows; ++i)
        product_gradient(gate_up + 2 * i * width, gate_up + (2 * i + 1) * width, grad + i * width, width,
                         grad_gate_up + 2 * i * width, grad_gate_up + (2 * i + 1) * width);
}

// cos x and sin x of n numbers.
void cosine_sine(const float *x, int64_t n, int64_t threads, float *cosine, float *sine) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < n; i += BLOCK) cos_sin_of(x + i, std::min(BLOCK, n - i), cosine + i, sine + i);
}

}  // extern "C"
