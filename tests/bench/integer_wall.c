/* The rate of vpdpbusd, the wall that integer matrix products stand against without tiles. Prints operations per second
   (a multiply and an add are two), 0 where the processor has no AVX-512 VNNI.

   cc -O3 -march=native -pthread integer_wall.c -o integer_wall && ./integer_wall THREADS */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512VNNI__)
#include <immintrin.h>

enum { kTurns = 20000000, kChains = 16, kRounds = 4 };
static volatile int sink;

static void *turn(void *unused) {
  (void)unused;
  __m512i sums[kChains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
  for (int i = 0; i < kChains; i++) sums[i] = _mm512_setzero_si512();
  for (int t = 0; t < kTurns; t++)
    for (int i = 0; i < kChains; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
  int total = 0;
  for (int i = 0; i < kChains; i++) total += _mm512_reduce_add_epi32(sums[i]);
  sink += total;
  return 0;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int count, char **arguments) {
  const int threads = count > 1 ? atoi(arguments[1]) : 1;
  if (threads < 1 || threads > 64) return 1;
  double best = 0;
  for (int round = 0; round < kRounds; round++) {
    pthread_t made[64];
    const double start = now();
    for (int i = 0; i < threads; i++) pthread_create(&made[i], 0, turn, 0);
    for (int i = 0; i < threads; i++) pthread_join(made[i], 0);
    const double rate = (double)threads * kTurns * kChains * 128 / (now() - start);
    if (rate > best) best = rate;
  }
  printf("%.0f\n", best);
  return 0;
}
#else
int main(void) {
  printf("0\n");
  return 0;
}
#endif
