/* Reading memory as fast as these threads can, in one stream each and in sixteen at once (more pages under way help
   where a stream is held up by latency): the wall that decoding stands against. Prints the better, bytes per second.

   cc -O3 -march=native -pthread read_bandwidth.c -o read_bandwidth && ./read_bandwidth THREADS [huge]

   With `huge` the memory lies in huge pages, as large arrays do; mapped files do not. */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { kRounds = 4, kMostStreams = 16 };
static const size_t kBytes = (size_t)1 << 30;
static uint64_t *memory;
static int threads;
static volatile uint64_t sink;

static int streams;

static void *read_share(void *which) {
  const size_t words = kBytes / 8 / (size_t)threads, each = words / (size_t)streams;
  const uint64_t *from = memory + words * (size_t)(intptr_t)which;
  uint64_t sums[8] = {0};
  for (size_t i = 0; i + 64 <= each; i += 64)
    for (int s = 0; s < streams; s++) {
      const uint64_t *line = from + each * (size_t)s + i;
      for (int j = 0; j < 64; j += 8)
        for (int k = 0; k < 8; k++) sums[k] += line[j + k];
    }
  for (int k = 1; k < 8; k++) sums[0] += sums[k];
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
  if (count > 2 && !strcmp(arguments[2], "huge")) madvise(memory, kBytes, MADV_HUGEPAGE);
  memset(memory, 1, kBytes);
  double best = 0;
  for (int round = 0; round < 2 * kRounds; round++) {
    streams = round % 2 ? kMostStreams : 1;
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
