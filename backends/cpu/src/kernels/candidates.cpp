// The highest of a row of logits. What is no higher than the last of the highest so far is passed over, sixteen lanes at a
// time; what is higher is collected, and now and then all but the highest of it are dropped. Changes to single logits and
// the mask are made in a copy of each block that has some.
#include <cmath>

#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

namespace {

constexpr int64_t kGroup = 4 * kLanes;

struct Sums {  // of e^(x - peak) and e^((x - peak) / temperature)
  float peak = -INFINITY;
  double plain = 0, tempered = 0;

  void add(const float *x, int64_t n, float highest, float temperature) {
    const float inverse = 1.0f / temperature;
    if (highest > peak) {
      const double up = static_cast<double>(peak) - static_cast<double>(highest);
      plain *= std::exp(up);
      tempered *= std::exp(up * static_cast<double>(inverse));
      peak = highest;
    }
    if (!(peak > -INFINITY)) return;
    Lanes one = zero(), other = zero();
    for (int64_t i = 0; i < n; i += kLanes) {
      const Lanes below = sub(load(x + i), splat(peak));
      one = HALFLAP_ISA::add(one, exponential(below));
      if (temperature != 1.0f) other = HALFLAP_ISA::add(other, exponential(mul(below, splat(inverse))));
    }
    plain += static_cast<double>(sum(one));
    tempered += static_cast<double>(sum(temperature != 1.0f ? other : one));
  }
};

void edit(const Edit &e, float &logit) {
  const float y = logit + e.bias;
  logit = (y > 0 ? y / e.repeat : y * e.repeat) + e.offset;
}

}  // namespace

// Bits of the mask for the sixteen tokens from `at`, a multiple of eight.
HALFLAP_INLINE uint32_t mask_bits(const uint8_t *mask, int64_t at, int64_t vocab) {
  const uint32_t low = at < vocab ? mask[at / 8] : 0, high = at + 8 < vocab ? mask[at / 8 + 1] : 0;
  return low | high << 8;
}

static void candidates(CandidatesTask &task) {
  alignas(64) float block[kCandidateBlock];
  const Edit *edits = task.edits, *const no_edit = task.edits + task.n_edits;
  const int64_t most = task.count + candidates_slack(task.count);
  const bool summed = task.temperature > 0;
  Sums sums;
  int64_t size = 0;
  bool open = true;  // fewer than count were found: whatever comes is among the highest
  float bound = -INFINITY;
  const auto take = [&](int64_t id, float logit) { task.found[size++] = {logit, static_cast<int32_t>(id)}; };

  task.nans = 0;
  for (int64_t at = 0; at < task.vocab; at += kCandidateBlock) {
    const int64_t n = least(kCandidateBlock, task.vocab - at), padded = (n + kGroup - 1) / kGroup * kGroup;
    const float *x = task.row + at;
    if (n < padded || (edits < no_edit && edits->id < at + n)) {
      memcpy(block, x, static_cast<size_t>(n) * 4);
      for (int64_t i = n; i < padded; i++) block[i] = -INFINITY;
      for (; edits < no_edit && edits->id < at + n; edits++) edit(*edits, block[edits->id - at]);
      x = block;
    }

    Lanes peaks = splat(-INFINITY), strange = zero();  // any NaN or infinity makes a NaN of a lane of `strange`
    for (int64_t i = 0; i < padded; i += kLanes) {
      const Lanes v = load(x + i);
      strange = fma(v, zero(), strange);
      peaks = greater(v, peaks);
    }
    if (!(sum(strange) <= 0))
      for (int64_t i = 0; i < n; i++) task.nans += x[i] != x[i];
    float peak = highest(peaks);
    if (task.nans || (!open && !summed && !(peak > bound))) continue;

    if (task.mask) {
      peaks = splat(-INFINITY);
      for (int64_t i = 0; i < padded; i += kLanes) {
        const Lanes v = keep_lanes(mask_bits(task.mask, at + i, task.vocab), load(x + i), splat(-INFINITY));
        store(block + i, v);
        peaks = greater(v, peaks);
      }
      x = block;
      peak = highest(peaks);
    }
    if (summed) sums.add(x, padded, peak, task.temperature);

    if (open) {
      for (int64_t i = 0; i < n; i++) take(at + i, x[i]);
    } else if (peak > bound) {
      for (int64_t i = 0; i < padded; i += kGroup) {
        const Lanes a = load(x + i), b = load(x + i + kLanes), c = load(x + i + 2 * kLanes), d = load(x + i + 3 * kLanes);
        if (!which_greater(greater(greater(a, b), greater(c, d)), splat(bound))) continue;
        for (int64_t j = i; j < i + kGroup; j += kLanes)
          for (uint32_t bits = which_greater(load(x + j), splat(bound)); bits; bits &= bits - 1) {
            const int64_t place = j + __builtin_ctz(bits);
            take(at + place, x[place]);
          }
      }
    }
    if (size > most || (open && size >= task.count)) {
      task.select(task.found, size, task.count);
      size = task.count;
      bound = task.found[size - 1].logit;
      open = false;
    }
  }
  task.n_found = task.nans ? 0 : size;
  task.log_sum = task.log_sum_at = NAN;
  if (summed && !task.nans) {
    const double peak = static_cast<double>(sums.peak);
    task.log_sum = peak > -INFINITY ? peak + std::log(sums.plain) : peak;
    task.log_sum_at = peak > -INFINITY ? peak / static_cast<double>(task.temperature) + std::log(sums.tempered) : peak;
  }
}

void fill_candidates(Kernels &k) { k.candidates = candidates; }

}  // namespace halflap::cpu::HALFLAP_ISA
