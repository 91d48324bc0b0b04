/* Streaming read of memory: the wall that decoding stands against. Prints bytes per second.

   cc -O3 -march=native -pthread read_bandwidth.c -o read_bandwidth && ./read_bandwidth THREADS */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kRounds = 6 };
static const size_t kBytes = (size_t)1 << 30;
static uint64_t *memory;
static int threads;
static volatile uint64_t sink;

static void *read_share(void *which) {
  const size_t words = kBytes / 8 / (size_t)threads;
  const uint64_t *from = memory + words * (size_t)(intptr_t)which;
  uint64_t sums[32] = {0};
  for (size_t i = 0; i + 32 <= words; i += 32)
    for (int j = 0; j < 32; j++) sums[j] += from[i + (size_t)j];
  for (int j = 1; j < 32; j++) sums[0] += sums[j];
  sink += sums[0];
  return 0;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int count, char **arguments) {
  threads = count > 1 ? atoi(arguments[1]) : 1;
  if (threads < 1 || threads > 64 || !(memory = aligned_alloc(1 << 21, kBytes))) return 1;
  memset(memory, 1, kBytes);
  double best = 0;
  for (int round = 0; round < kRounds; round++) {
    pthread_t made[64];
    const double start = now();
    for (int i = 0; i < threads; i++) pthread_create(&made[i], 0, read_share, (void *)(intptr_t)i);
    for (int i = 0; i < threads; i++) pthread_join(made[i], 0);
    const double speed = (double)kBytes / (now() - start);
    if (speed > best) best = speed;
  }
  printf("%.0f\n", best);
  return 0;
}
